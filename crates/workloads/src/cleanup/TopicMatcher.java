import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;

/**
 * Prints the topics, one a line after the pattern in the first line, that the whole pattern matches. A clean-up Job
 * carries the compiled class (TopicMatcher.class, made by `javac --release 8 -g:none`), since a runner image may have
 * a JRE without a compiler.
 */
public class TopicMatcher {
    public static void main(String[] args) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        Pattern pattern = Pattern.compile(in.readLine());
        for (String topic; (topic = in.readLine()) != null;) {
            if (pattern.matcher(topic).matches()) {
                out.println(topic);
            }
        }
        if (out.checkError()) {
            System.exit(1);
        }
    }
}
