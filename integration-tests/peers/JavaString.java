import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.util.HexFormat;

/**
 * Java's own serialization of a string, as Motan's registry uses it.
 *
 * <pre>
 * read  HEX    says the string in these bytes: "string ..."
 * write TEXT   says the bytes of this string: "bytes ..."
 * </pre>
 */
public class JavaString {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("read")) {
            byte[] bytes = HexFormat.of().parseHex(args[1]);
            System.out.println("string " + (String) new ObjectInputStream(new ByteArrayInputStream(bytes)).readObject());
            return;
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ObjectOutputStream stream = new ObjectOutputStream(bytes)) {
            stream.writeObject(args[1]);
        }
        System.out.println("bytes " + HexFormat.of().formatHex(bytes.toByteArray()));
    }
}
