import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;

/**
 * Reads a pattern and topics, one on each line, and prints the topics that match as a whole. The clean-up Job contains
 * the compiled class (TopicMatcher.class, by `javac --release 8 -g:none`), since a runner image can have a JRE without
 * a compiler.
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
