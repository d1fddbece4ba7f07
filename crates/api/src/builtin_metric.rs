//! The built-in metrics of autoscalers, as upstream names them.

/// A metric of `pod.builtinAutoscaler`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BuiltinMetric {
    /// `cpu` or `memory`.
    pub resource: &'static str,
    /// Target utilization in percent of the limit.
    pub percent: u8,
}

impl BuiltinMetric {
    /// Parses a name such as `AverageUtilizationCPUPercent80`.
    pub fn parse(name: &str) -> Option<Self> {
        let (resource, percent) = name.strip_prefix("AverageUtilization")?.split_once("Percent")?;
        let resource = match resource {
            "CPU" => "cpu",
            "Memory" => "memory",
            _ => return None,
        };
        let percent = match percent {
            "80" => 80,
            "50" => 50,
            "20" => 20,
            _ => return None,
        };
        Some(Self { resource, percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_upstream_are_metrics() {
        let metric = |resource, percent| Some(BuiltinMetric { resource, percent });
        for (name, expected) in [
            ("AverageUtilizationCPUPercent80", metric("cpu", 80)),
            ("AverageUtilizationMemoryPercent20", metric("memory", 20)),
            ("AverageUtilizationCPUPercent60", None),
            ("AverageUtilizationCPUPercent080", None),
            ("AverageUtilizationDiskPercent80", None),
            ("averageUtilizationCPUPercent80", None),
            ("", None),
        ] {
            assert_eq!(BuiltinMetric::parse(name), expected, "{name}");
        }
    }
}
