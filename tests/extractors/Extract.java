import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;

/** Extracts a tar with commons-compress, as its documentation shows: Extract PAYLOAD FOLDER. */
public class Extract {
    public static void main(String[] arguments) throws IOException {
        Path folder = Path.of(arguments[1]);
        try (InputStream file = Files.newInputStream(Path.of(arguments[0]));
                TarArchiveInputStream archive = new TarArchiveInputStream(file, "UTF-8")) {
            for (TarArchiveEntry entry; (entry = archive.getNextTarEntry()) != null; ) {
                Path path = folder.resolve(entry.getName());
                if (!archive.canReadEntryData(entry)) {
                    throw new IOException(entry.getName() + " cannot be read");
                } else if (entry.isDirectory()) {
                    Files.createDirectories(path);
                } else if (entry.isSymbolicLink()) {
                    Files.createSymbolicLink(path, Path.of(entry.getLinkName()));
                } else {
                    Files.copy(archive, path);
                    if ((entry.getMode() & 0100) != 0) {
                        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rwxr-xr-x"));
                    }
                }
            }
        }
    }
}
