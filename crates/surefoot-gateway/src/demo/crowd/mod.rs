//! The scene `crowd`: more callers than a service has room for, who come whether it answers or not.
//!
//! Two instances of one service get the same arrivals, of three priorities, at up to five times what they can work
//! off. One takes what comes, as most services do; the other asks Surefoot at its door. Nothing else differs.
//!
//! Reading order: [`load`] (who comes when), [`service`] (what becomes of it), [`door`] (Surefoot's part), [`callers`]
//! (who counts), [`measure`] (what is made of the records), [`report`].

mod callers;
mod door;
mod load;
mod measure;
mod report;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::callers::CrowdRecord;
#[cfg(test)]
use self::load::Phase;
use self::load::{Arrival, Load};
pub(crate) use self::measure::CrowdMeasures;
use self::service::Service;
use super::arms::{self, Kind};
use super::error::Error;
use super::live::Live;
use super::scene::{HEAD_START, REDRAW};
use super::workload::{self, Records};

/// How long a caller waits for an answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// What will be run.
#[derive(Debug)]
pub(crate) struct Crowd {
    seed: u64,
    load: Load,
}

/// What came of it, or has so far.
#[derive(Debug)]
pub(crate) struct CrowdOutcome {
    pub(crate) seed: u64,
    load: Load,
    arms: Vec<CrowdArm>,
}

#[derive(Debug)]
struct CrowdArm {
    kind: Kind,
    records: Vec<CrowdRecord>,
    /// Requests that reached the service.
    received: usize,
}

struct Running {
    kind: Kind,
    service: Service,
    records: Records<CrowdRecord>,
}

impl Crowd {
    pub(crate) const NAME: &str = "crowd";

    pub(crate) fn new(seed: u64, seconds: u64) -> Self {
        Self { seed, load: Load::crowd(Duration::from_secs(seconds)) }
    }

    /// What is said of each phase while it runs.
    #[cfg(test)]
    pub(crate) fn sentences(&self) -> impl Iterator<Item = &'static str> {
        self.load.phases().iter().map(Phase::sentence)
    }

    /// Runs both arms to the end of their last call. Dropping the future ends them at once.
    pub(crate) async fn run(self) -> Result<CrowdOutcome, Error> {
        let client = arms::client().map_err(Error::Client)?;
        let schedule: Arc<[Arrival]> = self.load.schedule(self.seed, service::CAPACITY).into();
        let start = Instant::now() + HEAD_START;
        let mut running = Vec::new();
        let mut workloads = JoinSet::new();
        for kind in [Kind::Bare, Kind::Surefoot] {
            let guarded = kind == Kind::Surefoot;
            let service = Service::start(guarded, self.seed).await.map_err(Error::Start)?;
            let records = Records::default();
            let (client, url) = (client.clone(), service.url());
            workloads.spawn(workload::run(
                Arc::clone(&schedule),
                start,
                DEADLINE,
                records.clone(),
                move |call: Arrival| callers::call(client.clone(), url.clone(), call.priority),
                CrowdRecord::new,
            ));
            running.push(Running { kind, service, records });
        }

        let mut live = Live::new();
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                ended = workloads.join_next() => match ended {
                    Some(ended) => ended.and_then(|calls| calls).map_err(Error::LostCall)?,
                    None => break,
                },
                _ = redraw.tick() => {
                    let (outcome, elapsed) = (self.outcome(&running), start.elapsed());
                    let sentence = self.load.phase_at(elapsed).sentence();
                    live.show(self.load.total(), elapsed, sentence, |width| {
                        report::chart(&outcome, elapsed, width)
                    });
                }
            }
        }
        live.finish();
        Ok(self.outcome(&running))
    }

    fn outcome(&self, running: &[Running]) -> CrowdOutcome {
        let arm = |arm: &Running| CrowdArm {
            kind: arm.kind,
            records: arm.records.snapshot(),
            received: arm.service.received(),
        };
        CrowdOutcome {
            seed: self.seed,
            load: self.load.clone(),
            arms: running.iter().map(arm).collect(),
        }
    }
}

impl CrowdOutcome {
    /// The whole report in lines of at most `width` columns, coloured.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        report::lines(self, width)
    }

    /// Each arm's numbers.
    pub(crate) fn measures(&self) -> Vec<(Kind, CrowdMeasures)> {
        self.arms.iter().map(|arm| (arm.kind, CrowdMeasures::of(arm, &self.load))).collect()
    }
}
