//! Which requests are due: a pure plan over what components need, when each URL was last asked, and what failed.
//!
//! Bounded for each broker and namespace, with jitter, and with a back-off whose scope fits the failure: the broker, the
//! namespace, or the topic. Topics that several components consume are asked once.

mod backoff;
mod limits;
mod plan;
mod redirect;
mod url;

pub use backoff::{Outcome, Schedule};
pub use limits::PlanLimits;
pub use plan::{Plan, plan};
pub use redirect::{MAX_REDIRECTS, RedirectError, follow_redirect};
pub use url::{stats as stats_url, topic as topic_url};

use function_mesh_api::names::TopicName;

use crate::Reading;
use crate::parse::StatsFlags;

/// How often a component is asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activity {
    /// Its pods run.
    Awake,
    /// It has no pods until messages arrive, so that it is asked more often.
    Asleep,
    /// It has no pods, and messages do not wake it.
    Suspended,
}

/// What a component needs.
#[derive(Clone, Debug)]
pub struct Target {
    /// URL of the web service of its Pulsar cluster, without a slash at the end.
    pub web: String,
    /// Its input topics, those of patterns included.
    pub topics: Vec<TopicTarget>,
    /// Its topic patterns, whose namespaces are listed.
    pub patterns: Vec<TopicName>,
    /// Its output topic, whose quota can stop it.
    pub output: Option<TopicTarget>,
    /// How often it is asked about.
    pub activity: Activity,
    /// Whether consumers are worth asking for, see [`crate::Tracker::needs_details`].
    pub needs_details: bool,
    /// Whether the lag is worth reading: messages wait.
    pub needs_lag: bool,
    /// Whether the policies of its namespaces matter: it may sleep.
    pub needs_policies: bool,
}

/// A topic of a component.
#[derive(Clone, Debug)]
pub struct TopicTarget {
    /// Name.
    pub name: TopicName,
    /// Number of partitions, zero for a topic that is not partitioned. Asked while unknown.
    pub partitions: Reading<usize>,
}

/// Identity of a request: one is never under way twice.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RequestKey {
    /// Number of partitions of a topic.
    Partitions {
        /// Web service.
        web: String,
        /// Topic.
        topic: TopicName,
    },
    /// Statistics of a topic and its partitions.
    Stats {
        /// Web service.
        web: String,
        /// Topic.
        topic: TopicName,
    },
    /// Topics of a namespace.
    Topics {
        /// Web service.
        web: String,
        /// Tenant and namespace.
        namespace: (String, String),
        /// Whether persistent topics are listed.
        persistent: bool,
    },
    /// Backlog quotas of a namespace.
    BacklogQuotas {
        /// Web service.
        web: String,
        /// Tenant and namespace.
        namespace: (String, String),
    },
    /// Policies of a namespace.
    Policies {
        /// Web service.
        web: String,
        /// Tenant and namespace.
        namespace: (String, String),
    },
    /// Active brokers of a cluster.
    Brokers {
        /// Web service.
        web: String,
    },
    /// Metrics of a broker.
    Metrics {
        /// Web service of the cluster.
        web: String,
        /// URL of the broker.
        broker: String,
    },
}

impl RequestKey {
    /// Whether the answer is about many topics, so that it takes longer than others.
    pub const fn is_large(&self) -> bool {
        matches!(self, Self::Topics { .. } | Self::Metrics { .. })
    }

    /// The server whose load a request counts for.
    pub(crate) fn server(&self) -> &str {
        match self {
            Self::Partitions { web, .. }
            | Self::Stats { web, .. }
            | Self::Topics { web, .. }
            | Self::BacklogQuotas { web, .. }
            | Self::Policies { web, .. }
            | Self::Brokers { web } => web,
            Self::Metrics { broker, .. } => broker,
        }
    }

    /// Tenant and namespace, unless a request is about a broker.
    pub(crate) fn namespace(&self) -> Option<(&str, &str)> {
        match self {
            Self::Partitions { topic, .. } | Self::Stats { topic, .. } => {
                Some((&topic.tenant, &topic.namespace))
            }
            Self::Topics { namespace, .. }
            | Self::BacklogQuotas { namespace, .. }
            | Self::Policies { namespace, .. } => Some((&namespace.0, &namespace.1)),
            Self::Brokers { .. } | Self::Metrics { .. } => None,
        }
    }
}

/// A request that is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// Its identity.
    pub key: RequestKey,
    /// URL to get.
    pub url: String,
    /// Flags of a request for statistics, which its answer is parsed with.
    pub flags: StatsFlags,
    /// Whether the answer has partitions.
    pub is_partitioned: bool,
}
