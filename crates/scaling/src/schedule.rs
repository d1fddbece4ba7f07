//! Schedules: other bounds of the replicas for some time, in a time zone.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use function_mesh_api::types::SCHEDULE_MAX_DURATION;
use function_mesh_observer::UnixMillis;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use thiserror::Error;

use crate::policy::Policy;

/// Longest text of a pattern or time zone.
const MAX_TEXT: usize = 128;

/// Why a schedule is invalid.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ScheduleError {
    /// The pattern is not one of cron with five fields.
    #[error("invalid cron pattern: {0}")]
    Pattern(String),
    /// The pattern matches no time.
    #[error("the cron pattern matches no time")]
    Never,
    /// The time zone is not one of the IANA database.
    #[error("unknown time zone; use a name as Europe/Berlin or UTC")]
    Zone,
    /// The duration is zero or too long.
    #[error("the duration must be between a second and seven days")]
    Duration,
}

/// Bounds for some time from each start.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Cron,
    duration: Duration,
    zone: TimeZone,
    min_replicas: Option<u32>,
    max_replicas: Option<u32>,
}

impl Schedule {
    /// A schedule that starts by a cron pattern with five fields, in a time zone of the IANA database.
    pub fn parse(start: &str, duration: Duration, zone: &str) -> Result<Self, ScheduleError> {
        if start.len() > MAX_TEXT {
            return Err(ScheduleError::Pattern("it is too long".to_owned()));
        }
        if duration.is_zero() || duration > SCHEDULE_MAX_DURATION {
            return Err(ScheduleError::Duration);
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let start = parser.parse(start).map_err(|error| ScheduleError::Pattern(error.to_string()))?;
        let zone = Some(zone).filter(|zone| zone.len() <= MAX_TEXT);
        let zone = zone.and_then(|zone| TimeZone::get(zone).ok()).ok_or(ScheduleError::Zone)?;
        // A search for 30 February takes long, and would be repeated for each decision.
        let epoch = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
        start.find_next_occurrence(&epoch, true).map_err(|_| ScheduleError::Never)?;
        Ok(Self { start, duration, zone, min_replicas: None, max_replicas: None })
    }

    /// The bounds while it is active; those of the policy without.
    #[must_use]
    pub fn with_bounds(self, min_replicas: Option<u32>, max_replicas: Option<u32>) -> Self {
        Self { min_replicas, max_replicas, ..self }
    }

    /// Whether it is active.
    pub fn is_active(&self, wall: UnixMillis) -> bool {
        let Some(now) = self.zoned(wall) else { return false };
        let Ok(start) = self.start.find_previous_occurrence(&now, true) else { return false };
        now.timestamp().duration_since(start.timestamp()).unsigned_abs() < self.duration
    }

    fn zoned(&self, wall: UnixMillis) -> Option<Zoned> {
        let timestamp = Timestamp::from_millisecond(i64::try_from(wall.0).ok()?).ok()?;
        Some(timestamp.to_zoned(self.zone.clone()))
    }
}

impl Policy {
    /// The policy with the bounds of the first schedule that is active.
    #[must_use]
    pub fn at(self, schedules: &[Schedule], wall: UnixMillis) -> Self {
        let Some(active) = schedules.iter().find(|schedule| schedule.is_active(wall)) else { return self };
        Self {
            min_replicas: active.min_replicas.unwrap_or(self.min_replicas),
            max_replicas: active.max_replicas.unwrap_or(self.max_replicas),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> UnixMillis {
        UnixMillis(u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap())
    }

    fn schedule(start: &str, hours: u64, zone: &str) -> Schedule {
        Schedule::parse(start, Duration::from_hours(hours), zone).unwrap()
    }

    #[test]
    fn working_hours_follow_the_time_zone_and_its_changes() {
        let work = schedule("0 8 * * MON-FRI", 9, "Europe/Berlin");
        for (time, expected) in [
            // Winter: UTC+1.
            ("2026-01-05T06:59:59Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T15:59:59Z", true),
            ("2026-01-05T16:00:00Z", false),
            // Saturday.
            ("2026-01-10T10:00:00Z", false),
            // Summer: UTC+2.
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T15:00:00Z", false),
        ] {
            assert_eq!(work.is_active(wall(time)), expected, "{time}");
        }
        assert!(!work.is_active(UnixMillis(u64::MAX)));
    }

    #[test]
    fn a_start_that_the_clock_skips_is_not_lost() {
        // On 29 March 2026 there is no 02:30 in Berlin.
        let night = schedule("30 2 * * *", 1, "Europe/Berlin");
        assert!(night.is_active(wall("2026-03-29T01:20:00Z")));
        assert!(!night.is_active(wall("2026-03-29T03:00:00Z")));
    }

    #[test]
    fn the_first_active_schedule_gives_the_bounds() {
        let all = schedule("0 0 * * *", 24, "UTC").with_bounds(Some(2), None);
        let noon = schedule("0 12 * * *", 1, "UTC").with_bounds(Some(9), Some(20));
        let bounds = |schedules: &[Schedule], time| {
            let policy = Policy::default().at(schedules, wall(time));
            (policy.min_replicas, policy.max_replicas)
        };
        let both = [noon.clone(), all];
        assert_eq!(bounds(&both, "2026-01-05T12:30:00Z"), (9, 20));
        assert_eq!(bounds(&both, "2026-01-05T13:30:00Z"), (2, 10));
        assert_eq!(bounds(&[noon], "2026-01-05T13:30:00Z"), (1, 10));
    }

    #[test]
    fn invalid_schedules_have_reasons() {
        let parse = |start: &str, seconds, zone| {
            Schedule::parse(start, Duration::from_secs(seconds), zone).map(|_| ()).unwrap_err()
        };
        assert!(matches!(parse("61 * * * *", 60, "UTC"), ScheduleError::Pattern(_)));
        assert!(matches!(parse("0 0 0 * * *", 60, "UTC"), ScheduleError::Pattern(_)));
        assert!(matches!(parse(&"1,".repeat(100), 60, "UTC"), ScheduleError::Pattern(_)));
        assert_eq!(parse("0 0 30 2 *", 60, "UTC"), ScheduleError::Never);
        assert_eq!(parse("0 0 * * *", 60, "Europe/Atlantis"), ScheduleError::Zone);
        assert_eq!(parse("0 0 * * *", 0, "UTC"), ScheduleError::Duration);
    }
}
