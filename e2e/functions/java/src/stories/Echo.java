package stories;

import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Answers the bytes it was given: shows that what lies between two topics changes nothing. */
public class Echo implements Function<byte[], byte[]> {
    @Override
    public byte[] process(byte[] input, Context context) {
        return input;
    }
}
