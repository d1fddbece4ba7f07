package e2e;

import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Sink;
import org.apache.pulsar.io.core.SinkContext;

/**
 * A sink that hands records to a thread of its own, as connectors with batches do, which acknowledges them. The record
 * {@code end} ends that thread, without a trace outside of the process; {@code error} throws an error in the thread of the
 * runner.
 */
public class Handover implements Sink<String> {
    private final BlockingQueue<Record<String>> records = new LinkedBlockingQueue<>();
    private final Thread writer = new Thread(this::acknowledge, "writer");

    @Override
    public void open(Map<String, Object> config, SinkContext context) {
        writer.setDaemon(true);
        writer.start();
    }

    @Override
    public void write(Record<String> record) {
        if (record.getValue().equals("error")) {
            throw new AssertionError("as the message says");
        }
        records.add(record);
    }

    private void acknowledge() {
        try {
            for (Record<String> next = records.take(); !next.getValue().equals("end"); next = records.take()) {
                next.ack();
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void close() {
        writer.interrupt();
    }
}
