package e2e;

import java.util.Collection;
import java.util.stream.Collectors;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.functions.api.WindowContext;
import org.apache.pulsar.functions.api.WindowFunction;

/** Answers all that is in its window, sorted as text and joined by commas: shows windows by count and by time. */
public class Numbers implements WindowFunction<String, String> {
    @Override
    public String process(Collection<Record<String>> window, WindowContext context) {
        return window.stream().map(Record::getValue).sorted().collect(Collectors.joining(","));
    }
}
