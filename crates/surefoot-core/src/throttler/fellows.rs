//! Compartments of one bulkhead: what they are called there, and what they lend one another.

use std::sync::{Arc, OnceLock, Weak};

use super::machine::Machine;
use crate::rejection::CompartmentFull;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, lock};
use crate::{Name, Rejection};

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
    /// To whom the permits that calls hold here belong.
    borrowed: Mutex<Vec<Arc<Machine>>>,
    lent: AtomicU32,
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

    /// Borrows a permit that somebody else can spare. Takes none of their locks, and may be asked for
    /// under one's own.
    pub(super) fn borrow(&self, own: &Machine) -> bool {
        let Some(fellows) = self.fellows() else { return false };
        let mut lenders = fellows.lenders(own);
        let Some((lender, _)) = lenders.find(|(lender, reserve)| lender.lend_above(*reserve))
        else {
            return false;
        };
        lender.fellowship.lent.fetch_add(1, Ordering::Relaxed);
        lock(&self.borrowed).push(lender.clone());
        true
    }

    /// Returns a permit that was borrowed: permits are all alike, so it is the latest. Not to be called
    /// under a lock.
    pub(super) fn give_back(&self) {
        let lender = lock(&self.borrowed).pop();
        if let Some(lender) = lender {
            lender.fellowship.lent.fetch_sub(1, Ordering::Relaxed);
            lender.put_back();
        }
    }

    /// Asks each that lends; tells whether there are any.
    pub(super) fn lenders(&self, own: &Machine, ask: impl Fn(&Machine)) -> bool {
        let Some(fellows) = self.fellows() else { return false };
        fellows.lenders(own).map(|(lender, _)| ask(lender)).count() > 0
    }

    /// Has those who wait elsewhere look at what is free here, if anything is lent; tells whether some
    /// wait still.
    pub(super) fn offer(&self, own: &Machine) -> bool {
        let Some(fellows) = self.fellows() else { return false };
        let lends = fellows.find(own).is_some_and(|fellow| fellow.reserve.is_some());
        lends && fellows.others(own).any(|other| other.machine.serve_from_fellows())
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
