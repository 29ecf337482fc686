//! What threads do with one breaker, and which outcomes some order of the same steps gives.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loom::model::Builder;
use surefoot_core::circuit_breaker::use_stripe;
use surefoot_core::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerConfig, CircuitStatus};
use surefoot_core::{CircuitBreaker, CircuitState, Event, ManualClock, Permit, Verdict};

use Do::{Admit, Advance, Automatic, Call, Cancel, Disable, Fail, ForceOpen, Pause, Reconfigure};
use Do::{Reset, Succeed};

/// One step of a thread. Numbers name permits, in the order in which `before` admitted them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    /// Asks for a permit; one admitted by a thread is kept to the end.
    Admit,
    Succeed(usize),
    Fail(usize),
    Cancel(usize),
    /// The callee asks for a pause of so many nanoseconds.
    Pause(usize, u32),
    /// Admits and settles at once.
    Call(Verdict),
    Advance(u32),
    Reset,
    ForceOpen,
    Disable,
    Automatic,
    /// To the config of this number among `Scenario::configs`.
    Reconfigure(usize),
}

#[derive(Clone)]
pub(super) struct Scenario {
    configs: Vec<CircuitBreakerConfig>,
    /// What one thread does before the others start.
    before: Vec<Do>,
    threads: Vec<Vec<Do>>,
    /// What one thread does when all are done, so that what is hidden comes out.
    after: Vec<Do>,
    /// How often a thread may be interrupted, where all interleavings are too many.
    preemptions: Option<usize>,
    /// Each thread counts its successes on a stripe of its own, and not all on the first.
    apart: bool,
}

/// What can be seen of a run: who was admitted, and what the breaker says at the end of the
/// threads and after what came later.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) admitted: Vec<Vec<Option<Duration>>>,
    pub(super) joined: CircuitStatus,
    pub(super) admitted_after: Vec<Option<Duration>>,
    pub(super) finally: CircuitStatus,
    pub(super) heard: Vec<Heard>,
}

/// What a listener is told, in the order in which it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Change { from: CircuitState, to: CircuitState, generation: u64 },
    WouldHaveTripped,
    Throttled(Duration),
    Other,
}

impl From<&Event> for Heard {
    fn from(event: &Event) -> Self {
        match *event {
            Event::StateChanged { from, to, generation, .. } => {
                Self::Change { from, to, generation }
            }
            Event::WouldHaveTripped { .. } => Self::WouldHaveTripped,
            Event::Throttled { retry_after, .. } => Self::Throttled(retry_after),
            _ => Self::Other,
        }
    }
}

/// The breaker of one run, and the permits a thread holds.
struct Hands {
    breaker: CircuitBreaker,
    clock: ManualClock,
    heard: Arc<Mutex<Vec<Heard>>>,
    configs: Arc<[CircuitBreakerConfig]>,
    permits: Vec<Option<Permit>>,
    kept: Vec<Permit>,
    /// For each question, the wait it was answered with; `None` if admitted.
    answers: Vec<Option<Duration>>,
}

impl Hands {
    fn new(scenario: &Scenario) -> Self {
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(vec![]));
        let ear = Arc::clone(&heard);
        let breaker = CircuitBreakerBuilder::from(scenario.configs[0].clone())
            .clock(&clock)
            .on_event(move |event| ear.lock().unwrap().push(event.into()))
            .build()
            .unwrap();
        let configs = scenario.configs.clone().into();
        let (permits, kept, answers) = (vec![], vec![], vec![]);
        let mut hands = Self { breaker, clock, heard, configs, permits, kept, answers };
        for step in &scenario.before {
            hands.take(*step);
        }
        hands.permits = std::mem::take(&mut hands.kept).into_iter().map(Some).collect();
        hands.answers.clear();
        hands
    }

    /// Another thread's hands, with the permits that its steps name.
    fn for_thread(&mut self, steps: &[Do]) -> Self {
        let mut permits: Vec<_> = self.permits.iter().map(|_| None).collect();
        for step in steps {
            if let Succeed(which) | Fail(which) | Cancel(which) | Pause(which, _) = *step {
                permits[which] = self.permits[which].take();
            }
        }
        Self {
            breaker: self.breaker.clone(),
            clock: self.clock.clone(),
            heard: Arc::clone(&self.heard),
            configs: Arc::clone(&self.configs),
            permits,
            kept: vec![],
            answers: vec![],
        }
    }

    fn take(&mut self, step: Do) {
        let retry_after = |wait: u32| Some(Duration::from_nanos(wait.into()));
        match step {
            Admit => match self.breaker.admit() {
                Ok(permit) => {
                    self.kept.push(permit);
                    self.answers.push(None);
                }
                Err(rejection) => {
                    self.answers.push(Some(rejection.retry_after().unwrap_or(Duration::MAX)));
                }
            },
            Call(verdict) => match self.breaker.admit_borrowed() {
                Ok(permit) => {
                    permit.settle(verdict);
                    self.answers.push(None);
                }
                Err(rejection) => {
                    self.answers.push(Some(rejection.retry_after().unwrap_or(Duration::MAX)));
                }
            },
            Succeed(which) => self.permit(which).success(),
            Fail(which) => self.permit(which).failure(),
            Cancel(which) => drop(self.permit(which)),
            Pause(which, wait) => {
                self.permit(which).settle(Verdict::Throttled { retry_after: retry_after(wait) });
            }
            Advance(by) => self.clock.advance(Duration::from_nanos(by.into())),
            Reset => self.breaker.reset(),
            ForceOpen => self.breaker.force_open(),
            Disable => self.breaker.disable(),
            Automatic => self.breaker.automatic(),
            Reconfigure(which) => {
                self.breaker.reconfigure(self.configs[which].clone()).unwrap();
            }
        }
    }

    fn permit(&mut self, which: usize) -> Permit {
        self.permits[which].take().expect("each permit is settled once")
    }
}

impl Scenario {
    pub(super) fn new(config: CircuitBreakerConfig) -> Self {
        Self {
            configs: vec![config],
            before: vec![],
            threads: vec![],
            after: vec![],
            preemptions: None,
            apart: false,
        }
    }

    pub(super) fn or(mut self, config: CircuitBreakerConfig) -> Self {
        self.configs.push(config);
        self
    }

    pub(super) fn before(mut self, steps: impl Into<Vec<Do>>) -> Self {
        self.before = steps.into();
        self
    }

    pub(super) fn thread(mut self, steps: impl Into<Vec<Do>>) -> Self {
        self.threads.push(steps.into());
        self
    }

    pub(super) fn after(mut self, steps: impl Into<Vec<Do>>) -> Self {
        self.after = steps.into();
        self
    }

    pub(super) fn preemptions(mut self, bound: usize) -> Self {
        self.preemptions = Some(bound);
        self
    }

    pub(super) fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Every outcome under loom is one that some order of the same steps gives. Returns those.
    pub(super) fn check(self) -> Vec<Outcome> {
        let allowed = self.in_every_order();
        let expected = allowed.clone();
        let mut model = Builder::new();
        model.preemption_bound = self.preemptions;
        model.max_branches = 20_000;
        model.check(move || {
            let outcome = self.concurrently();
            assert!(
                allowed.contains(&outcome),
                "no order gives {outcome:#?}\nwhich is none of {allowed:#?}"
            );
        });
        expected
    }

    fn in_every_order(&self) -> Vec<Outcome> {
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let (scenario, found) = (self.clone(), Arc::clone(&outcomes));
        let mut model = Builder::new();
        model.max_branches = 1_000_000;
        model.check(move || {
            let mut found = found.lock().unwrap();
            found.clear();
            for order in orders(&scenario.threads.iter().map(Vec::len).collect::<Vec<_>>()) {
                let outcome = scenario.in_order(&order);
                if !found.contains(&outcome) {
                    found.push(outcome);
                }
            }
        });
        let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
        assert!(!outcomes.is_empty());
        outcomes
    }

    fn in_order(&self, order: &[usize]) -> Outcome {
        let mut hands = Hands::new(self);
        let mut threads: Vec<_> =
            self.threads.iter().map(|steps| (hands.for_thread(steps), steps.iter())).collect();
        for thread in order {
            let (hands, steps) = &mut threads[*thread];
            hands.take(*steps.next().expect("an order of these steps"));
        }
        let threads: Vec<_> = threads.into_iter().map(|(hands, _)| hands).collect();
        self.outcome(hands, &threads)
    }

    fn concurrently(&self) -> Outcome {
        let mut hands = Hands::new(self);
        let run = |mut hands: Hands, steps: &[Do]| {
            for step in steps {
                hands.take(*step);
            }
            hands
        };
        let (first, others) = self.threads.split_first().expect("threads");
        let others: Vec<_> = others
            .iter()
            .zip(1..)
            .map(|(steps, number)| {
                let (hands, steps) = (hands.for_thread(steps), steps.clone());
                let stripe = if self.apart { number } else { 0 };
                loom::thread::spawn(move || {
                    use_stripe(stripe);
                    run(hands, &steps)
                })
            })
            .collect();
        let mut threads = vec![run(hands.for_thread(first), first)];
        threads.extend(others.into_iter().map(|thread| thread.join().unwrap()));
        self.outcome(hands, &threads)
    }

    fn outcome(&self, mut hands: Hands, threads: &[Hands]) -> Outcome {
        let joined = status(&hands.breaker);
        for step in &self.after {
            hands.take(*step);
        }
        Outcome {
            admitted: threads.iter().map(|thread| thread.answers.clone()).collect(),
            joined,
            admitted_after: hands.answers.clone(),
            finally: status(&hands.breaker),
            heard: hands.heard.lock().unwrap().clone(),
        }
    }
}

/// The status, but for what an open breaker shows of the successes before it tripped: it includes
/// those that were under way at that moment.
fn status(breaker: &CircuitBreaker) -> CircuitStatus {
    let status = breaker.status();
    match status.state {
        CircuitState::Open => CircuitStatus { success_count: 0, failure_rate: 0.0, ..status },
        CircuitState::Closed | CircuitState::HalfOpen => status,
    }
}

/// Every order in which threads with so many steps each can take them.
fn orders(left: &[usize]) -> Vec<Vec<usize>> {
    if left.iter().all(|steps| *steps == 0) {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for thread in (0..left.len()).filter(|thread| left[*thread] > 0) {
        let mut rest = left.to_vec();
        rest[thread] -= 1;
        all.extend(orders(&rest).into_iter().map(|order| [vec![thread], order].concat()));
    }
    all
}
