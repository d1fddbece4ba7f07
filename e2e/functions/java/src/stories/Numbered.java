package stories;

import java.util.Map;
import java.util.Optional;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Source;
import org.apache.pulsar.io.core.SourceContext;

/**
 * Emits {@code message-0}, {@code message-1} and so on, {@code count} of them (config; all without), one every
 * {@code intervalMs}, and then waits: for stories that must know exactly what went in. Each carries its number as the
 * sequence by which a broker recognizes duplicates, and the property {@code produced}, the time in milliseconds. Every
 * start, and every instance, begins at 0 again.
 */
public class Numbered implements Source<String> {
    private long count;
    private long interval;
    private long next;
    private String partition;

    @Override
    public void open(Map<String, Object> config, SourceContext context) {
        count = Numeric.of(config.getOrDefault("count", Long.MAX_VALUE));
        interval = Numeric.of(config.getOrDefault("intervalMs", 0));
        partition = "numbered-" + context.getInstanceId();
    }

    @Override
    public Record<String> read() throws InterruptedException {
        while (next >= count) {
            Thread.sleep(60_000); // a source has no other way to say that there is nothing
        }
        if (next > 0) {
            Thread.sleep(interval);
        }
        return new Message(next++, partition, System.currentTimeMillis());
    }

    @Override
    public void close() {}

    private record Message(long number, String partition, long produced) implements Record<String> {
        @Override
        public String getValue() {
            return "message-" + number;
        }

        @Override
        public Optional<Long> getRecordSequence() {
            return Optional.of(number);
        }

        @Override
        public Optional<String> getPartitionId() {
            return Optional.of(partition);
        }

        @Override
        public Map<String, String> getProperties() {
            return Map.of("produced", Long.toString(produced));
        }
    }
}
