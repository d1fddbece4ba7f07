package e2e;

import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Counts each word in the state store and answers {@code word=count}: shows state that outlives the pod. */
public class Counter implements Function<String, String> {
    @Override
    public String process(String word, Context context) {
        context.incrCounter(word, 1);
        return word + "=" + context.getCounter(word);
    }
}
