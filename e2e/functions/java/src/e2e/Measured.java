package e2e;

import java.nio.charset.StandardCharsets;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Answers bytes of any schema as text, with their number in front, {@code 5:hello}. */
public class Measured implements Function<byte[], String> {
    @Override
    public String process(byte[] input, Context context) {
        return input.length + ":" + new String(input, StandardCharsets.UTF_8);
    }
}
