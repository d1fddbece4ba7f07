package e2e;

import java.util.Collection;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/**
 * Answers with what the runner passed: tests user config and secrets. The input is a key of the user config, answered as
 * JSON; or {@code secret:NAME}, answered as it is; or {@code instance}, answered as "0 of 2"; or {@code names}, answered
 * as tenant, namespace and name of the function.
 */
public class Settings implements Function<String, String> {
    @Override
    public String process(String input, Context context) {
        if (input.startsWith("secret:")) {
            return String.valueOf(context.getSecret(input.substring("secret:".length())));
        }
        if (input.equals("instance")) {
            return context.getInstanceId() + " of " + context.getNumInstances();
        }
        if (input.equals("names")) {
            return context.getTenant() + "/" + context.getNamespace() + "/" + context.getFunctionName();
        }
        return json(context.getUserConfigValue(input).orElse(null));
    }

    // Compact, with the keys sorted, so that a story can compare text.
    private static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            return map.entrySet().stream()
                    .map(entry -> text(entry.getKey().toString()) + ":" + json(entry.getValue()))
                    .sorted()
                    .collect(Collectors.joining(",", "{", "}"));
        }
        if (value instanceof Collection<?> list) {
            return list.stream().map(Settings::json).collect(Collectors.joining(",", "[", "]"));
        }
        // The runner reads every number as floating point; whole ones are written whole again.
        if (value instanceof Number number && number.doubleValue() == number.longValue()) {
            return Long.toString(number.longValue());
        }
        return value == null || value instanceof Boolean || value instanceof Number ? String.valueOf(value) : text(value.toString());
    }

    private static String text(String value) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : value.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ') {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }
}
