//! Compartments of one bulkhead: what they are called there, and what they lend one another.

use std::sync::{Arc, OnceLock, Weak};

use super::grant::Grant;
use super::machine::Machine;
use crate::rejection::CompartmentFull;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, lock};
use crate::{Name, Rejection, Timestamp};

/// The compartments of a bulkhead.
pub(crate) struct Fellows(Box<[Fellow]>);

struct Fellow {
    machine: Arc<Machine>,
    /// It lends what is free above so many permits; `None` if it lends nothing.
    reserve: Option<u32>,
}

impl Fellow {
    fn is(&self, machine: &Machine) -> bool {
        std::ptr::eq(&raw const *self.machine, machine)
    }
}

impl Fellows {
    /// Has the compartments know one another, for as long as this is kept.
    pub(crate) fn join<'a>(
        bulkhead: &Name,
        compartments: impl Iterator<Item = (Name, &'a super::Throttler, Option<u32>)>,
    ) -> Arc<Self> {
        let (names, fellows): (Vec<_>, Vec<_>) = compartments
            .map(|(name, throttler, reserve)| {
                (name, Fellow { machine: throttler.machine.clone(), reserve })
            })
            .unzip();
        let fellows = Arc::new(Self(fellows.into()));
        for (fellow, name) in fellows.0.iter().zip(names) {
            let bulkhead = bulkhead.clone();
            let member = Member { bulkhead, name, fellows: Arc::downgrade(&fellows) };
            // A compartment is made for one bulkhead, so it is a member of no other.
            let _ = fellow.machine.fellowship.own.set(member);
        }
        fellows
    }

    fn find(&self, own: &Machine) -> Option<&Fellow> {
        self.0.iter().find(|fellow| fellow.is(own))
    }

    fn others(&self, own: &Machine) -> impl Iterator<Item = &Fellow> {
        self.0.iter().filter(move |fellow| !fellow.is(own))
    }

    fn lenders(&self, own: &Machine) -> impl Iterator<Item = (&Arc<Machine>, u32)> {
        self.others(own).filter_map(|fellow| Some((&fellow.machine, fellow.reserve?)))
    }
}

/// The bulkhead that a throttler belongs to, if it does.
#[derive(Default)]
pub(super) struct Fellowship {
    own: OnceLock<Member>,
    borrowed: Mutex<Loans>,
    lent: AtomicU32,
}

/// Permits of others that calls hold here.
#[derive(Default)]
struct Loans {
    /// By the number that the call knows it by; `None` if that is not in use.
    places: Vec<Option<Loan>>,
    unused: Vec<u32>,
}

struct Loan {
    lender: Arc<Machine>,
    /// Since when.
    at: Timestamp,
}

impl Loans {
    fn add(&mut self, loan: Loan) -> u32 {
        if let Some(number) = self.unused.pop()
            && let Some(place) = self.places.get_mut(number as usize)
        {
            *place = Some(loan);
            return number;
        }
        self.places.push(Some(loan));
        // As many as others have permits, which is far below.
        u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
    }

    fn get(&self, number: u32) -> Option<&Loan> {
        self.places.get(number as usize)?.as_ref()
    }

    fn remove(&mut self, number: u32) -> Option<Loan> {
        let loan = self.places.get_mut(number as usize)?.take()?;
        self.unused.push(number);
        Some(loan)
    }

    fn len(&self) -> usize {
        self.places.len() - self.unused.len()
    }
}

struct Member {
    bulkhead: Name,
    name: Name,
    /// Gone with the bulkhead: then nothing is lent any more.
    fellows: Weak<Fellows>,
}

impl Fellowship {
    pub(super) fn bulkhead(&self) -> Option<&Name> {
        self.own.get().map(|member| &member.bulkhead)
    }

    /// Permits of others that calls hold here, and permits of one's own that calls hold elsewhere.
    pub(super) fn counts(&self) -> (u32, u32) {
        let borrowed = lock(&self.borrowed).len();
        (u32::try_from(borrowed).unwrap_or(u32::MAX), self.lent.load(Ordering::Relaxed))
    }

    fn fellows(&self) -> Option<Arc<Fellows>> {
        self.own.get()?.fellows.upgrade()
    }

    /// Whether it has a bulkhead at all.
    pub(super) fn may_borrow(&self) -> bool {
        self.own.get().is_some()
    }

    /// Borrows a permit that somebody else can spare, for a call that begins `at`. Takes none of their
    /// locks, and may be asked for under one's own.
    pub(super) fn borrow(&self, own: &Machine, at: Timestamp) -> Option<Grant> {
        let fellows = self.fellows()?;
        let mut lenders = fellows.lenders(own);
        let (lender, _) = lenders.find(|(lender, reserve)| lender.lend_above(*reserve))?;
        lender.fellowship.lent.fetch_add(1, Ordering::Relaxed);
        let loan = Loan { lender: lender.clone(), at };
        Some(Grant::borrowed(lock(&self.borrowed).add(loan)))
    }

    /// When a call began that has a permit of somebody else.
    pub(super) fn begun_at(&self, loan: u32) -> Option<Timestamp> {
        lock(&self.borrowed).get(loan).map(|loan| loan.at)
    }

    /// Returns a permit that was borrowed. Not to be called under a lock.
    pub(super) fn give_back(&self, loan: u32) {
        let loan = lock(&self.borrowed).remove(loan);
        if let Some(Loan { lender, .. }) = loan {
            lender.fellowship.lent.fetch_sub(1, Ordering::Relaxed);
            lender.put_back();
        }
    }

    /// Asks each that lends; tells whether there are any.
    pub(super) fn lenders(&self, own: &Machine, ask: impl Fn(&Machine)) -> bool {
        let Some(fellows) = self.fellows() else { return false };
        fellows.lenders(own).map(|(lender, _)| ask(lender)).count() > 0
    }

    /// Whether somebody waits elsewhere who might be lent a permit from here.
    pub(super) fn others_wait(&self, own: &Machine) -> bool {
        let lends_to = self.lends_to(own);
        lends_to
            .is_some_and(|fellows| fellows.others(own).any(|other| other.machine.queue_depth() > 0))
    }

    /// Has those who wait elsewhere look at what is free here, if anything is lent.
    pub(super) fn offer(&self, own: &Machine) {
        if let Some(fellows) = self.lends_to(own) {
            fellows.others(own).for_each(|other| other.machine.serve_from_fellows());
        }
    }

    /// The bulkhead, if its other compartments are lent anything.
    fn lends_to(&self, own: &Machine) -> Option<Arc<Fellows>> {
        let lends =
            |fellows: &Arc<Fellows>| fellows.find(own).is_some_and(|own| own.reserve.is_some());
        self.fellows().filter(lends)
    }

    /// A refusal in the words of a bulkhead.
    pub(super) fn worded(&self, rejection: Rejection) -> Rejection {
        match (self.own.get(), rejection) {
            (Some(member), Rejection::QueueFull { max_concurrent, queue_size, .. }) => {
                let name = member.name.clone();
                let compartment = CompartmentFull { name, max_concurrent, queue_size };
                let policy = member.bulkhead.clone();
                Rejection::BulkheadFull { policy, compartment: Box::new(compartment) }
            }
            (_, rejection) => rejection,
        }
    }
}
