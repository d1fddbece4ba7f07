package e2e;

import java.nio.charset.StandardCharsets;
import org.apache.pulsar.functions.api.SerDe;

/** A reading as the text {@code place=12.5}: shows a serialization of one's own, in and out. */
public class ReadingSerDe implements SerDe<Reading> {
    @Override
    public Reading deserialize(byte[] input) {
        String text = new String(input, StandardCharsets.UTF_8);
        int equals = text.lastIndexOf('=');
        return new Reading(text.substring(0, equals), java.lang.Double.parseDouble(text.substring(equals + 1)));
    }

    @Override
    public byte[] serialize(Reading reading) {
        return (reading.getPlace() + "=" + reading.getDegrees()).getBytes(StandardCharsets.UTF_8);
    }
}
