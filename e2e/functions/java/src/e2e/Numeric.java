package e2e;

/** Whole numbers of a configuration: the runner reads them as floating point, and people write them as text. */
final class Numeric {
    private Numeric() {}

    static long of(Object value) {
        return value instanceof Number number ? number.longValue() : Long.parseLong(value.toString());
    }
}
