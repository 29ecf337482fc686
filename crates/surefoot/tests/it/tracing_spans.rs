//! What a `tracing` subscriber sees.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use surefoot::{BoxPipeline, ManualClock, Pipeline, Rejection};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

use crate::support::*;

/// Writes everything down, one line each.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|written| *written == line).count()
    }

    /// Writes down what happens on this thread while `work` runs.
    fn of<R>(work: impl FnOnce() -> R) -> (Self, R) {
        let diary = Self::default();
        let result = tracing::subscriber::with_default(diary.clone(), work);
        (diary, result)
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Diary {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(String::new());
        span.record(&mut fields);
        self.write(format!("span {}{}", span.metadata().name(), fields.0));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.write(format!("{}{}", event.metadata().level(), fields.0));
    }

    fn enter(&self, _: &Id) {
        self.write("enter".into());
    }

    fn exit(&self, _: &Id) {
        self.write("exit".into());
    }
}

const SPAN: &str = "span surefoot.call pipeline=\"model\"";

#[test]
fn each_call_of_a_pipeline_runs_in_a_span_with_its_name() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let pipeline = Pipeline::builder("model").build().unwrap();
        let service = Service::new(&clock, [gives(200).after(SEC)]);
        let (diary, answer) = Diary::of(|| call!(host, clock, pipeline, service));
        assert_eq!(answer, Ok(200));
        assert_eq!(diary.count(SPAN), 1, "{host:?}: {:?}", diary.lines());
        assert!(diary.count("enter") >= 1, "{host:?}");
        assert_eq!(diary.count("enter"), diary.count("exit"), "{host:?}");
    }
}

#[test]
fn a_boxed_pipeline_keeps_its_span() {
    let clock = ManualClock::new();
    let pipeline: BoxPipeline<u16, &'static str> =
        Pipeline::builder("model").build().unwrap().boxed();
    let service = Service::new(&clock, [gives(200)]);
    let (diary, _) = Diary::of(|| run(&clock, pipeline.call(|| service.answer())));
    assert_eq!(diary.count(SPAN), 1);
}

#[test]
fn a_pipeline_with_a_fallback_keeps_its_span() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let pipeline =
            Pipeline::builder("model").build().unwrap().with_fallback(|_: &Rejection| 304);
        let service = Service::new(&clock, [gives(200)]);
        let (diary, _) = Diary::of(|| call!(host, clock, pipeline, service));
        assert_eq!(diary.count(SPAN), 1, "{host:?}");
    }
}

#[test]
fn what_a_breaker_does_is_logged_with_its_name() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let breaker = breaker(&clock).failure_threshold(1).build().unwrap();
        let logging = surefoot::tracing::log(breaker.events());
        let service = Service::new(&clock, [fails("down")]);
        let (diary, _) = Diary::of(|| call!(host, clock, breaker, service));
        let lines = diary.lines();
        let [line] = &lines[..] else { panic!("{host:?}: {lines:?}") };
        assert!(line.starts_with(Level::WARN.as_str()), "{line}");
        for part in ["circuit=\"api\"", "from=\"closed\"", "to=\"open\"", "failure_count=1"] {
            assert!(line.contains(part), "{host:?}: {part} is not in {line}");
        }
        drop(logging);
        let (diary, ()) = Diary::of(|| breaker.reset());
        assert!(diary.lines().is_empty(), "{host:?}: dropping the subscription ends it");
    }
}

#[test]
fn what_a_retry_does_is_logged_with_its_name() {
    for host in Host::BOTH {
        let clock = ManualClock::new();
        let retry = retry(&clock).name("read").max_attempts(2).build().unwrap();
        surefoot::tracing::log(retry.events()).forever();
        let service = Service::new(&clock, [fails("down")]);
        let (diary, _) = Diary::of(|| call!(host, clock, retry, service));
        let lines = diary.lines();
        let [scheduled, stopped] = &lines[..] else { panic!("{host:?}: {lines:?}") };
        assert!(scheduled.starts_with("INFO") && stopped.starts_with("WARN"), "{lines:?}");
        assert!(scheduled.contains("operation=\"read\"") && scheduled.contains("delay=1s"));
        assert!(stopped.contains("attempts=2"), "{stopped}");
    }
}
