import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.core.Appender;
import org.apache.logging.log4j.core.LoggerContext;
import org.apache.logging.log4j.core.appender.RollingRandomAccessFileAppender;
import org.apache.logging.log4j.core.appender.rolling.CompositeTriggeringPolicy;
import org.apache.logging.log4j.core.appender.rolling.CronTriggeringPolicy;
import org.apache.logging.log4j.core.appender.rolling.DefaultRolloverStrategy;
import org.apache.logging.log4j.core.appender.rolling.SizeBasedTriggeringPolicy;
import org.apache.logging.log4j.core.appender.rolling.TriggeringPolicy;
import org.apache.logging.log4j.core.config.Configuration;
import org.apache.logging.log4j.status.StatusData;
import org.apache.logging.log4j.status.StatusListener;
import org.apache.logging.log4j.status.StatusLogger;

/** Loads log configurations and reports how Log4j interprets each. */
public class Load {
    private static final List<String> PROBLEMS = new ArrayList<>();

    /** Arguments: a file with an array of {file, properties}, and the file for the answers. */
    public static void main(String[] arguments) throws Exception {
        StatusLogger.getLogger().registerListener(new StatusListener() {
            public void log(StatusData data) {
                PROBLEMS.add(data.getFormattedStatus());
            }

            public Level getStatusLevel() {
                return Level.WARN;
            }

            public void close() {}
        });
        ObjectMapper mapper = new ObjectMapper();
        List<Object> answers = new ArrayList<>();
        for (Map<?, ?> given : mapper.readValue(new File(arguments[0]), Map[].class)) {
            answers.add(load((String) given.get("file"), (Map<?, ?>) given.get("properties")));
        }
        mapper.writeValue(new File(arguments[1]), answers);
    }

    private static Map<String, Object> load(String file, Map<?, ?> properties) {
        PROBLEMS.clear();
        properties.forEach((name, value) -> System.setProperty((String) name, (String) value));
        Map<String, Object> answer = new LinkedHashMap<>();
        LoggerContext context = new LoggerContext("case", null, Path.of(file).toUri());
        context.start();
        Configuration configuration = context.getConfiguration();
        answer.put("name", configuration.getName());
        answer.put("level", configuration.getRootLogger().getLevel().name());
        Map<String, Object> appenders = new LinkedHashMap<>();
        configuration.getAppenders().forEach((name, appender) -> appenders.put(name, describe(appender)));
        answer.put("appenders", appenders);
        answer.put("references", List.copyOf(configuration.getRootLogger().getAppenders().keySet()));
        context.getLogger("some.class").fatal("it's {} & more", "\"quoted\"");
        context.stop();
        properties.forEach((name, value) -> System.clearProperty((String) name));
        answer.put("problems", List.copyOf(PROBLEMS));
        return answer;
    }

    private static Map<String, Object> describe(Appender appender) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("type", appender.getClass().getSimpleName());
        answer.put("layout", appender.getLayout().getClass().getSimpleName());
        if (appender instanceof RollingRandomAccessFileAppender rolling) {
            List<String> policies = new ArrayList<>();
            CompositeTriggeringPolicy all = rolling.getManager().getTriggeringPolicy();
            for (TriggeringPolicy policy : all.getTriggeringPolicies()) {
                policies.add(describe(policy));
            }
            answer.put("policies", policies);
            answer.put("file", rolling.getFileName());
            DefaultRolloverStrategy strategy = (DefaultRolloverStrategy) rolling.getManager().getRolloverStrategy();
            answer.put("kept", strategy.getMaxIndex());
        }
        return answer;
    }

    private static String describe(TriggeringPolicy policy) {
        if (policy instanceof CronTriggeringPolicy cron) {
            return "cron " + cron.getCronExpression().getCronExpression();
        }
        if (policy instanceof SizeBasedTriggeringPolicy size) {
            return "size " + size.getMaxFileSize();
        }
        return policy.getClass().getSimpleName();
    }
}
