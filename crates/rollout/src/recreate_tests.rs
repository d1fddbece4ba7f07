//! The decision by tables, and a model of the StatefulSet controller: regardless of the order of events, no two pods have
//! different templates, and all comes to rest.

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a time")
}

/// A component with three pods of an old template, at second 100.
fn observed() -> Observed {
    Observed {
        has_wanted_template: false,
        replicas: 3,
        wanted: 3,
        pods: Pods::Unknown,
        is_ready: true,
        subscription: Subscription::NotObserved,
        record: Record::default(),
        now: at(100),
    }
}

fn stopped() -> Record {
    Record { stopped_at: Some(at(90)), ..Record::default() }
}

#[test]
fn a_change_stops_the_pods_with_their_template() {
    assert_eq!(decide(&observed()), Step::Stop(Record { stopped_at: Some(at(100)), ..Record::default() }));
    let scaled = Observed { has_wanted_template: true, wanted: 5, ..observed() };
    assert_eq!(decide(&scaled), Step::Apply(Record::default()));
}

#[test]
fn nothing_starts_while_a_pod_exists() {
    let names = vec!["f-function-0".to_owned(), "f-function-2".to_owned()];
    for (pods, message) in [
        (Pods::Unknown, "waiting for the StatefulSet controller to stop the pods"),
        (Pods::Exist(names.clone()), "waiting for pods f-function-0 and 1 more to terminate"),
        (Pods::Exist(names[..1].to_vec()), "waiting for pod f-function-0 to terminate"),
    ] {
        // A change back, another change, a stop by the operator, and the end of a suspension.
        for has_wanted_template in [false, true] {
            for record in [stopped(), Record::default()] {
                let observed = Observed {
                    has_wanted_template,
                    replicas: 0,
                    pods: pods.clone(),
                    record: record.clone(),
                    ..observed()
                };
                let Step::Wait(wait, kept) = decide(&observed) else { panic!("{observed:?}") };
                assert_eq!((wait.to_string().as_str(), kept), (message, record));
            }
        }
    }
}

#[test]
fn the_subscription_is_waited_for_after_a_stop() {
    let base = Observed { replicas: 0, pods: Pods::None, record: stopped(), ..observed() };
    let step = |subscription, second| {
        let gone_at = (second > 100).then(|| at(100));
        let record = Record { gone_at, ..stopped() };
        decide(&Observed { subscription, record, now: at(second), ..base.clone() })
    };
    let gone = Record { gone_at: Some(at(100)), ..stopped() };
    let started = |second| Step::Apply(Record { started_at: Some(at(second)), ..gone.clone() });
    let known = |consumers, unacked| Subscription::Known { consumers, unacked };
    let busy = |consumers, unacked| Step::Wait(Wait::Subscription { consumers, unacked }, gone.clone());
    assert_eq!(step(Subscription::NotObserved, 100), started(100));
    assert_eq!(step(known(0, 0), 120), started(120));
    // What is known has no limit: a start would make a second producer.
    assert_eq!(step(known(1, 0), 100), busy(1, 0));
    assert_eq!(step(known(0, 7), 9_000), busy(0, 7));
    let unknown = Subscription::Unknown("Pulsar does not answer");
    assert_eq!(
        step(unknown, 100),
        Step::Wait(Wait::Unknown("Pulsar does not answer", at(160)), gone.clone())
    );
    assert!(matches!(step(unknown, 159), Step::Wait(..)));
    assert_eq!(step(unknown, 160), started(160));
    // A component that was suspended or asleep begins at once.
    let resumed = Observed { record: Record::default(), subscription: unknown, ..base.clone() };
    assert_eq!(decide(&resumed), Step::Apply(Record::default()));
    // The clock was put back.
    let ahead = Record { gone_at: Some(at(99_999)), ..stopped() };
    let step = decide(&Observed { record: ahead, subscription: unknown, ..base });
    assert_eq!(step, Step::Wait(Wait::Unknown("Pulsar does not answer", at(160)), gone));
}

#[test]
fn a_stop_without_wanted_replicas_measures_no_gap() {
    let suspended = Observed { replicas: 0, wanted: 0, record: stopped(), ..observed() };
    assert_eq!(decide(&suspended), Step::Apply(Record::default()));
    let done = Record { started_at: Some(at(95)), ready_at: Some(at(99)), ..stopped() };
    let later = Observed { record: done.clone(), ..suspended };
    assert_eq!(decide(&later), Step::Apply(done));
}

#[test]
fn the_gap_is_from_the_last_pod_to_the_first_ready_one() {
    let started = Record { gone_at: Some(at(92)), started_at: Some(at(93)), ..stopped() };
    let running = Observed { has_wanted_template: true, record: started.clone(), ..observed() };
    let Step::Apply(record) = decide(&running) else { panic!("no apply") };
    assert_eq!(
        (record.gap(), record.total()),
        (Some(SignedDuration::from_secs(8)), Some(SignedDuration::from_secs(10)))
    );
    // It stays, and so does a record of a start whose pods are not ready.
    let later = Observed { record: record.clone(), now: at(500), ..running.clone() };
    assert_eq!(decide(&later), Step::Apply(record));
    let unready = Observed { is_ready: false, ..running };
    assert_eq!(decide(&unready), Step::Apply(started.clone()));
    assert_eq!(started.gap(), None);
}

#[test]
fn another_client_that_scales_the_stateful_set_ends_the_stop() {
    let scaled = Observed { has_wanted_template: true, record: stopped(), ..observed() };
    assert_eq!(decide(&scaled), Step::Apply(Record::default()));
    let changed = Observed { record: stopped(), ..observed() };
    assert_eq!(decide(&changed), Step::Stop(Record { stopped_at: Some(at(100)), ..Record::default() }));
}

#[test]
fn a_record_is_read_back() {
    let record = Record { gone_at: Some(at(1)), ..stopped() };
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(text, r#"{"stoppedAt":"2027-01-15T08:01:30Z","goneAt":"2027-01-15T08:00:01Z"}"#);
    assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
    assert_eq!(serde_json::to_string(&Record::default()).expect("JSON"), "{}");
}

/// What may happen between two reads of the operator.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The operator reconciles.
    Reconcile,
    /// The StatefulSet controller reports and makes one step.
    Control,
    /// The terminating pod with this index ends.
    End(usize),
    /// Running pods become ready.
    Ready,
    /// The user changes the template.
    Template(u8),
    /// The user or an autoscaler scales the component.
    Scale(i32),
    /// The user suspends or resumes the component.
    Suspend(bool),
    /// Another client connects to the subscription, or all leave.
    Consumers(u64),
    /// Pulsar does not answer.
    Unobserved,
    /// Time passes.
    Pass(i64),
}

#[derive(Debug)]
struct Pod {
    template: u8,
    is_ready: bool,
    is_terminating: bool,
}

/// A component, its StatefulSet, its pods and its subscription.
#[derive(Debug)]
struct Model {
    template: u8,
    replicas: i32,
    is_suspended: bool,
    set: (u8, i32),
    record: Record,
    /// Whether the StatefulSet controller has seen the last write.
    is_seen: bool,
    pods: Vec<Option<Pod>>,
    subscription: Subscription,
    now: i64,
    writes: usize,
}

impl Model {
    fn new() -> Self {
        Self {
            template: 0,
            replicas: 3,
            is_suspended: false,
            set: (0, 3),
            record: Record::default(),
            is_seen: false,
            pods: (0..6).map(|_| None).collect(),
            subscription: Subscription::NotObserved,
            now: 0,
            writes: 0,
        }
    }

    fn wanted(&self) -> i32 {
        if self.is_suspended { 0 } else { self.replicas }
    }

    fn apply(&mut self, happening: Happening) {
        match happening {
            Happening::Reconcile => self.reconcile(),
            Happening::Control => self.control(),
            Happening::End(index) => {
                let ends =
                    self.pods.get_mut(index).filter(|pod| pod.as_ref().is_some_and(|pod| pod.is_terminating));
                if let Some(pod) = ends {
                    *pod = None;
                }
            }
            Happening::Ready => {
                self.pods.iter_mut().flatten().for_each(|pod| pod.is_ready = !pod.is_terminating);
            }
            Happening::Template(template) => self.template = template,
            Happening::Scale(replicas) => self.replicas = replicas,
            Happening::Suspend(is_suspended) => self.is_suspended = is_suspended,
            Happening::Consumers(consumers) => {
                self.subscription = Subscription::Known { consumers, unacked: 0 }
            }
            Happening::Unobserved => self.subscription = Subscription::Unknown("Pulsar does not answer"),
            Happening::Pass(seconds) => self.now += seconds,
        }
        let templates = self.pods.iter().flatten().map(|pod| pod.template);
        assert!(templates.clone().max() == templates.min(), "two templates at once: {self:?}");
    }

    fn reconcile(&mut self) {
        let exist: Vec<_> = self.pods.iter().flatten().map(|_| "a pod".to_owned()).collect();
        let pods = match (self.is_seen, exist.is_empty()) {
            (false, _) => Pods::Unknown,
            (true, true) => Pods::None,
            (true, false) => Pods::Exist(exist),
        };
        let step = decide(&Observed {
            has_wanted_template: self.set.0 == self.template,
            replicas: self.set.1,
            wanted: self.wanted(),
            pods,
            is_ready: self.pods.iter().flatten().any(|pod| pod.is_ready),
            subscription: self.subscription,
            record: self.record.clone(),
            now: at(self.now),
        });
        let (set, record) = match step {
            Step::Stop(record) => ((self.set.0, 0), record),
            Step::Wait(_, record) => (self.set, record),
            Step::Apply(record) => ((self.template, self.wanted()), record),
        };
        if set != self.set || record != self.record {
            self.is_seen &= set == self.set;
            (self.set, self.record) = (set, record);
            self.writes += 1;
        }
    }

    /// One pod is created, deleted, or replaced because its template is old.
    fn control(&mut self) {
        self.is_seen = true;
        let (template, replicas) = self.set;
        let replicas = usize::try_from(replicas).unwrap_or_default();
        for (ordinal, pod) in self.pods.iter_mut().enumerate() {
            match pod {
                None if ordinal < replicas => {
                    *pod = Some(Pod { template, is_ready: false, is_terminating: false });
                    return;
                }
                Some(pod) if !pod.is_terminating && (ordinal >= replicas || pod.template != template) => {
                    (pod.is_terminating, pod.is_ready) = (true, false);
                    return;
                }
                _ => {}
            }
        }
    }

    /// The operator, the StatefulSet controller and the kubelet work until nothing is left to do.
    fn come_to_rest(&mut self) {
        self.subscription = Subscription::Known { consumers: 0, unacked: 0 };
        for _ in 0..20 {
            self.apply(Happening::Reconcile);
            self.apply(Happening::Control);
            (0..6).for_each(|index| self.apply(Happening::End(index)));
            self.apply(Happening::Ready);
            self.apply(Happening::Pass(1));
        }
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Reconcile),
        6 => Just(Happening::Control),
        5 => (0..6_usize).prop_map(Happening::End),
        2 => Just(Happening::Ready),
        2 => (0..3_u8).prop_map(Happening::Template),
        1 => (0..6_i32).prop_map(Happening::Scale),
        1 => any::<bool>().prop_map(Happening::Suspend),
        1 => (0..2_u64).prop_map(Happening::Consumers),
        1 => Just(Happening::Unobserved),
        1 => (1..90_i64).prop_map(Happening::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_two_templates_run_at_once_and_all_comes_to_rest(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut model = Model::new();
        model.come_to_rest();
        for happening in happenings {
            model.apply(happening);
        }
        model.come_to_rest();
        let wanted = usize::try_from(model.wanted()).unwrap_or_default();
        let ready = model.pods.iter().flatten().filter(|pod| pod.is_ready && pod.template == model.template).count();
        prop_assert_eq!(ready, wanted, "{:?}", model);
        prop_assert!(!model.record.is_stopped() && !model.record.is_starting() || wanted == 0, "{:?}", model);
        let writes = model.writes;
        model.come_to_rest();
        prop_assert_eq!(model.writes, writes, "a steady state writes nothing");
    }
}
