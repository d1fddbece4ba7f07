package e2e;

import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Fahrenheit to Celsius, to one decimal: shows messages with a schema (JSON, AVRO) or a SerDe of one's own. */
public class Celsius implements Function<Reading, Reading> {
    @Override
    public Reading process(Reading fahrenheit, Context context) {
        double celsius = (fahrenheit.getDegrees() - 32) * 5 / 9;
        return new Reading(fahrenheit.getPlace(), Math.round(celsius * 10) / 10.0);
    }
}
