package e2e;

import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Fails at every message that begins with "bad" and answers the others: shows retries and dead letters. */
public class Flaky implements Function<String, String> {
    @Override
    public String process(String input, Context context) {
        if (input.startsWith("bad")) {
            throw new IllegalArgumentException("rejected: " + input);
        }
        return input;
    }
}
