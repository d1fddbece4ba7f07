package e2e;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.function.Consumer;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.BatchSource;
import org.apache.pulsar.io.core.SourceContext;

/**
 * A batch source: instance 0 discovers {@code tasks} (config) tasks whenever its triggerer asks, and each becomes one
 * message, {@code task-0} and so on, at whichever instance gets it.
 */
public class Ticks implements BatchSource<byte[]> {
    private long tasks;
    private byte[] next;

    @Override
    public void open(Map<String, Object> config, SourceContext context) {
        tasks = Numeric.of(config.getOrDefault("tasks", 1));
    }

    @Override
    public void discover(Consumer<byte[]> found) {
        for (long i = 0; i < tasks; i++) {
            found.accept(("task-" + i).getBytes(StandardCharsets.UTF_8));
        }
    }

    @Override
    public void prepare(byte[] task) {
        next = task;
    }

    /** The task's only record, and then null: the task is done. */
    @Override
    public Record<byte[]> readNext() {
        byte[] value = next;
        next = null;
        return value == null ? null : () -> value;
    }

    @Override
    public void close() {}
}
