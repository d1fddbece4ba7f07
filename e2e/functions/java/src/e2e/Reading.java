package e2e;

/** A temperature at a place; as JSON {@code {"place":"oslo","degrees":12.5}}. */
public class Reading {
    private String place;
    private double degrees;

/** Needed by deserializers. */
    public Reading() {}

    public Reading(String place, double degrees) {
        this.place = place;
        this.degrees = degrees;
    }

    public String getPlace() {
        return place;
    }

    public void setPlace(String place) {
        this.place = place;
    }

    public double getDegrees() {
        return degrees;
    }

    public void setDegrees(double degrees) {
        this.degrees = degrees;
    }
}
