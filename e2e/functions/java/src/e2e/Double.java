package e2e;

import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Answers its input twice, {@code delayMs} (user config) later: shows that a function runs, or that a slow one scales. */
public class Double implements Function<String, String> {
    @Override
    public String process(String input, Context context) throws InterruptedException {
        Thread.sleep(Numeric.of(context.getUserConfigValueOrDefault("delayMs", 0)));
        return input + input;
    }
}
