package e2e;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.apache.pulsar.client.api.CryptoKeyReader;
import org.apache.pulsar.client.api.EncryptionKeyInfo;

/**
 * Reads keys in PEM from the files that {@code publicKey} and {@code privateKey} of its configuration name: shows
 * encrypted messages. The runner makes it through a public constructor that takes a map. All key names share the pair;
 * encryption needs no private key, and decryption no public one.
 */
public class FileKeys implements CryptoKeyReader {
    private static final long serialVersionUID = 1;

    private final String publicKey;
    private final String privateKey;

    public FileKeys(Map<String, Object> config) {
        publicKey = (String) config.get("publicKey");
        privateKey = (String) config.get("privateKey");
    }

    @Override
    public EncryptionKeyInfo getPublicKey(String name, Map<String, String> metadata) {
        return read(publicKey, "publicKey", metadata);
    }

    @Override
    public EncryptionKeyInfo getPrivateKey(String name, Map<String, String> metadata) {
        return read(privateKey, "privateKey", metadata);
    }

    private static EncryptionKeyInfo read(String file, String setting, Map<String, String> metadata) {
        if (file == null) {
            throw new IllegalStateException(setting + " is needed and not configured");
        }
        try {
            return new EncryptionKeyInfo(Files.readAllBytes(Path.of(file)), metadata);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
