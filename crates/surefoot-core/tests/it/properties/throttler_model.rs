//! A throttler as one thread would keep it on paper: who runs, and who waits.

use std::collections::BTreeMap;

use surefoot_core::throttler::Order;

/// What becomes of a call. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Admitted,
    Queued,
    Full,
    Timeout,
    Deadline,
    Displaced,
    Closed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) limit: u32,
    pub(super) queue_size: u32,
    pub(super) timeout: u32,
    pub(super) order: Order,
    pub(super) expected_service: u32,
    pub(super) displace: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    rules: Rules,
    now: u32,
    running: u32,
    is_closed: bool,
    /// In the order of arrival.
    queue: Vec<Waiting>,
    /// Of those who waited and have not been told.
    answers: BTreeMap<usize, Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    call: usize,
    priority: u32,
    since: u32,
    deadline: Option<u32>,
}

impl Model {
    pub(super) fn new(rules: Rules) -> Self {
        let (queue, answers) = (Vec::new(), BTreeMap::new());
        Self { rules, now: 0, running: 0, is_closed: false, queue, answers }
    }

    pub(super) fn running(&self) -> u32 {
        self.running
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Those who were told something they do not know yet.
    pub(super) fn answered(&self) -> Vec<usize> {
        self.answers.keys().copied().collect()
    }

    /// A call comes, one that would wait or not.
    pub(super) fn ask(
        &mut self,
        call: usize,
        priority: u32,
        deadline: Option<u32>,
        waits: bool,
    ) -> Answer {
        if self.is_closed {
            return Answer::Closed;
        }
        if self.running < self.rules.limit && self.queue.is_empty() {
            self.running += 1;
            return Answer::Admitted;
        }
        if !waits {
            return Answer::Full;
        }
        if self.is_hopeless(deadline) {
            return Answer::Deadline;
        }
        if self.queue.len() >= self.rules.queue_size as usize {
            let places = (0..self.queue.len()).rev();
            let lowest = places.min_by_key(|place| self.queue[*place].priority);
            match lowest.filter(|place| self.queue[*place].priority < priority) {
                Some(place) if self.rules.displace => {
                    self.answers.insert(self.queue.remove(place).call, Answer::Displaced);
                }
                _ => return Answer::Full,
            }
        }
        self.queue.push(Waiting { call, priority, since: self.now, deadline });
        Answer::Queued
    }

    /// One who waits looks how things stand.
    pub(super) fn poll(&mut self, call: usize) -> Answer {
        if let Some(answer) = self.answers.remove(&call) {
            return answer;
        }
        let place = self.queue.iter().position(|waiting| waiting.call == call).expect("it waits");
        let Waiting { since, deadline, .. } = self.queue[place];
        if deadline.is_some_and(|deadline| self.now >= deadline) {
            self.queue.remove(place);
            let is_late = self.now >= since + self.rules.timeout;
            return if is_late { Answer::Timeout } else { Answer::Deadline };
        }
        Answer::Queued
    }

    /// One who waits walks away.
    pub(super) fn cancel(&mut self, call: usize) {
        match self.answers.remove(&call) {
            Some(Answer::Admitted) => self.end(),
            Some(_) => {}
            None => self.queue.retain(|waiting| waiting.call != call),
        }
    }

    /// A call that ran has ended.
    pub(super) fn end(&mut self) {
        self.running -= 1;
        self.serve();
    }

    pub(super) fn resize(&mut self, limit: u32) {
        self.rules.limit = limit;
        self.serve();
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
        for waiting in self.queue.drain(..) {
            self.answers.insert(waiting.call, Answer::Closed);
        }
    }

    pub(super) fn pass(&mut self, seconds: u32) {
        self.now += seconds;
        let (now, timeout, answers) = (self.now, self.rules.timeout, &mut self.answers);
        self.queue.retain(|waiting| {
            let is_late = now >= waiting.since + timeout;
            if is_late {
                answers.insert(waiting.call, Answer::Timeout);
            }
            !is_late
        });
    }

    fn serve(&mut self) {
        while !self.is_closed && self.running < self.rules.limit {
            let places = 0..self.queue.len();
            let place = match self.rules.order {
                Order::Lifo => places.last(),
                Order::Priority => places.rev().max_by_key(|place| self.queue[*place].priority),
                _ => places.into_iter().next(),
            };
            let Some(place) = place else { return };
            let Waiting { call, deadline, .. } = self.queue.remove(place);
            if self.is_hopeless(deadline) {
                self.answers.insert(call, Answer::Deadline);
            } else {
                self.running += 1;
                self.answers.insert(call, Answer::Admitted);
            }
        }
    }

    fn is_hopeless(&self, deadline: Option<u32>) -> bool {
        deadline.is_some_and(|deadline| {
            self.now >= deadline || deadline - self.now < self.rules.expected_service
        })
    }
}
