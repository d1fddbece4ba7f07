package e2e;

import java.util.Map;
import java.util.function.Consumer;
import org.apache.pulsar.io.core.BatchSourceTriggerer;
import org.apache.pulsar.io.core.SourceContext;

/**
 * Lets a batch source discover once, at its start. Pulsar's own triggerers come only inside the archives of its
 * connectors; those cannot be loaded beside a plain jar.
 */
public class Once implements BatchSourceTriggerer {
    @Override
    public void init(Map<String, Object> config, SourceContext context) {}

    @Override
    public void start(Consumer<String> trigger) {
        trigger.accept("once");
    }

    @Override
    public void stop() {}
}
