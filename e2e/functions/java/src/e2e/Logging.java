package e2e;

import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;
import org.slf4j.Logger;

/**
 * Logs its input and answers it: shows levels, formats, log topics and rotation. "warn: text" is logged as a warning
 * (also trace, debug, info, error; anything else is info), and {@code fill:N} logs N lines of a kilobyte.
 */
public class Logging implements Function<String, String> {
    @Override
    public String process(String input, Context context) {
        Logger log = context.getLogger();
        String[] parts = input.split(":", 2);
        switch (parts[0]) {
            case "trace" -> log.trace(input);
            case "debug" -> log.debug(input);
            case "warn" -> log.warn(input);
            case "error" -> log.error(input);
            case "fill" -> fill(log, Numeric.of(parts[1].strip()));
            default -> log.info(input);
        }
        return input;
    }

    private static void fill(Logger log, long lines) {
        String line = "x".repeat(1024);
        for (long i = 0; i < lines; i++) {
            log.info(line);
        }
    }
}
