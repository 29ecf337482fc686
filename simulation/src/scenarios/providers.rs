//! A thousand agents on one account with a provider of models, who counts requests, input and output
//! tokens.
//!
//! The provider's buckets hold what it grants in a minute, but it takes no more than ten requests in
//! five seconds, and it reserves `max_tokens` until a call ends.
//!
//! Two figures miss their bound. What an answer says is left is taken as a level, and no answer is
//! kept as a rate: units that the limiter did not count itself are held for others once, at the
//! time of the answer, while its own leave as fast as it believes. With others on the account the
//! provider refills more slowly than that, and with limits of three times as much the window has
//! room for three times what flows in, so that between answers calls go out for which nothing has
//! come back yet. A second answer adds to what the first one holds and never takes from it: a rule
//! that keeps limit, remaining and reset as a rate has to replace it instead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot::rate_limiter::multi::{Limit, RateLimits, Scope};
use surefoot::rate_limiter::{ServerBudget, ServerLimits};
use surefoot::{ManualClock, Timestamp};

use super::{Bound, Figure, Scenario};
use crate::world::lock;
use crate::{Chance, Handle, World};

/// Who listens to the provider is hardly ever refused.
pub const PROVIDER: Scenario = Scenario {
    number: 20,
    name: "a provider's limits",
    title: "1000 agents, 50 requests, 30k input and 8k output tokens a minute",
    run,
};

const AGENTS: u64 = 1000;
const MINUTE: Duration = Duration::from_secs(60);
const WARM_UP_MINUTES: u32 = 5;
const MINUTES: u32 = 30;
const UNITS: [&str; 3] = ["requests", "input_tokens", "output_tokens"];
const GRANTED: [u64; 3] = [50, 30_000, 8_000];
const OTHERS: &str =
    "what is left is taken as a level, but with others it comes back more slowly than we count";
const RATE: &str =
    "what is left is taken as a level, but it comes back as fast as was believed: 3 × too fast";
/// No more requests than this within that: what providers call acceleration limits.
const ACCELERATION: (usize, Duration) = (10, Duration::from_secs(5));

fn run(seed: u32) -> Vec<Figure> {
    let listening = measure(seed, &Account::default());
    let wasteful = measure(seed, &Account { margin: 10, ..Account::default() });
    let shared = Account { others_use: 0.2, ..Account::default() };
    let deaf = measure(seed, &Account { listens: false, ..shared });
    let shared = measure(seed, &shared);
    let tripled = measure(seed, &Account { believed: 3, ..Account::default() });
    let unlimited =
        measure(seed, &Account { believed: 1_000_000, listens: false, ..Account::default() });
    vec![
        Figure::share("refused, of all calls", listening.refused, Bound::AtMost(1.0)),
        Figure::share("made, of the requests granted", listening.used, Bound::AtLeast(90.0)),
        Figure::share("max_tokens 10 × too high: refused", wasteful.refused, Bound::AtMost(1.0)),
        Figure::share("max_tokens 10 × too high: made", wasteful.used, Bound::AtLeast(85.0)),
        Figure::share("others use a fifth: refused", shared.refused, Bound::AtMost(1.0))
            .but_only(Bound::AtMost(25.0), OTHERS),
        Figure::share("others use a fifth: made", shared.used, Bound::AtLeast(90.0)),
        Figure::share(
            "told limits of three times as much: refused",
            tripled.refused,
            Bound::AtMost(1.0),
        )
        .but_only(Bound::AtMost(55.0), RATE),
        Figure::share(
            "control, others use a fifth, nobody listens: refused",
            deaf.refused,
            Bound::AtLeast(1.0),
        ),
        Figure::share("control, no limiter: refused", unlimited.refused, Bound::AtLeast(50.0)),
    ]
}

/// An account with a provider, and what its users know and do about it.
#[derive(Clone, Copy)]
struct Account {
    /// Whether they listen to what the provider says is left,
    listens: bool,
    /// how many times the true limits they believe in,
    believed: u64,
    /// and how many times more output tokens they reserve than they use.
    margin: u64,
    /// The share of everything that somebody else uses.
    others_use: f64,
}

impl Default for Account {
    fn default() -> Self {
        Self { listens: true, believed: 1, margin: 1, others_use: 0.0 }
    }
}

struct Measured {
    /// Of all calls that reached the provider.
    refused: f64,
    /// Of the requests it grants.
    used: f64,
}

fn measure(seed: u32, account: &Account) -> Measured {
    let Account { listens, believed, margin, others_use } = *account;
    let mut world = World::new(seed);
    let provider = Provider::new(world.clock().clone(), others_use);
    let mut limits = RateLimits::builder("provider").clock(world.clock());
    for (unit, granted) in UNITS.into_iter().zip(GRANTED) {
        limits = limits.limit(Limit::overall(unit, believed * granted, MINUTE));
    }
    let limits: RateLimits<String> = limits.build().expect("valid");
    let mut chance = world.handle().chance(0);
    for _ in 0..AGENTS {
        let agent = Agent {
            world: world.handle(),
            limits: limits.clone(),
            provider: provider.clone(),
            chance: chance.split(),
            listens,
            margin,
        };
        world.spawn(agent.work());
    }
    world.run_for(MINUTE * WARM_UP_MINUTES);
    let before = provider.counts();
    world.run_for(MINUTE * MINUTES);
    let after = provider.counts();
    let (done, refused) = (after.done - before.done, after.refused - before.refused);
    let granted = f64::from(MINUTES) * as_f64(GRANTED[0]) * (1.0 - others_use);
    Measured {
        refused: f64::from(refused) / f64::from(done + refused),
        used: f64::from(done) / granted,
    }
}

struct Agent {
    world: Handle,
    limits: RateLimits<String>,
    provider: Provider,
    chance: Chance,
    listens: bool,
    margin: u64,
}

impl Agent {
    /// Thinks, calls, and thinks again; far more often than there are requests for all.
    async fn work(mut self) {
        loop {
            self.world.sleep(self.chance.exponential(MINUTE)).await;
            let input = 300 + self.chance.below(400);
            let output = 60 + self.chance.below(140);
            while !self.call(input, output).await {}
        }
    }

    /// Whether the call was made.
    async fn call(&mut self, input: u64, output: u64) -> bool {
        let most = output * self.margin;
        let amounts = [(UNITS[1], input), (UNITS[2], most)];
        let charge = match self.limits.try_reserve("account", &amounts) {
            Ok(charge) => charge,
            Err(refusal) => {
                self.pause(refusal.retry_after().expect("it fits some time")).await;
                return false;
            }
        };
        let result = self.provider.begin([1, input, most]);
        if result.is_ok() {
            let tokens = Duration::from_millis(20) * u32::try_from(output).expect("few");
            self.world.sleep(Duration::from_secs(1) + tokens).await;
            self.provider.end(most - output);
            charge.settle(&[(UNITS[2], output)]).expect("known units");
        } else {
            charge.give_back();
        }
        if self.listens {
            let said = self.provider.says(result.err());
            self.limits.learn("account", Scope::Overall, &said).expect("room for one key");
        }
        if let Err(wait) = result {
            self.pause(wait).await;
        }
        result.is_ok()
    }

    /// And a little longer, so that not all come at once.
    async fn pause(&mut self, wait: Duration) {
        let longer = self.chance.exponential(Duration::from_secs(1));
        self.world.sleep(wait + longer).await;
    }
}

/// The provider's side.
#[derive(Clone)]
struct Provider {
    clock: ManualClock,
    state: Arc<Mutex<Books>>,
}

struct Books {
    buckets: [Bucket; 3],
    /// When the latest requests came.
    latest: Vec<Timestamp>,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    done: u32,
    refused: u32,
}

/// A bucket of so many units, of which so many flow in in a minute.
struct Bucket {
    size: f64,
    flow: f64,
    level: f64,
    at: Timestamp,
}

impl Provider {
    fn new(clock: ManualClock, others_use: f64) -> Self {
        let at = Timestamp::ZERO;
        let buckets = GRANTED.map(|granted| {
            let size = as_f64(granted);
            Bucket { size, flow: size * (1.0 - others_use), level: size, at }
        });
        let account = Books { buckets, latest: vec![], counts: Counts::default() };
        Self { clock, state: Arc::new(Mutex::new(account)) }
    }

    /// Takes a call on, or says how long to wait.
    fn begin(&self, amounts: [u64; 3]) -> Result<(), Duration> {
        let now = self.now();
        let account = &mut *lock(&self.state);
        let (most, span) = ACCELERATION;
        account.latest.retain(|&at| now - at < span);
        let mut wait = Duration::ZERO;
        if account.latest.len() >= most {
            wait = span;
        }
        for (bucket, amount) in account.buckets.iter_mut().zip(amounts) {
            wait = wait.max(bucket.wait(as_f64(amount), now));
        }
        if !wait.is_zero() {
            account.counts.refused += 1;
            // As the header has it, in whole seconds.
            return Err(Duration::from_secs(wait.as_secs() + 1));
        }
        account.latest.push(now);
        for (bucket, amount) in account.buckets.iter_mut().zip(amounts) {
            bucket.level -= as_f64(amount);
        }
        Ok(())
    }

    /// Gives back the output tokens that were not used.
    fn end(&self, unused: u64) {
        let now = self.now();
        let account = &mut *lock(&self.state);
        account.counts.done += 1;
        let [_, _, output] = &mut account.buckets;
        output.fill(now);
        output.level = (output.level + as_f64(unused)).min(output.size);
    }

    /// What its headers say.
    fn says(&self, retry_after: Option<Duration>) -> ServerLimits {
        let now = self.now();
        let account = &mut *lock(&self.state);
        let budgets = UNITS.into_iter().zip(GRANTED).zip(&mut account.buckets);
        let budgets = budgets.map(|((unit, granted), bucket)| {
            bucket.fill(now);
            ServerBudget {
                limit: Some(granted),
                window: Some(MINUTE),
                remaining: Some(whole(bucket.level)),
                reset_after: Some(bucket.time_for(bucket.size - bucket.level)),
                reset_is_full: true,
                ..ServerBudget::of(unit)
            }
        });
        ServerLimits {
            budgets: budgets.collect(),
            throttled: retry_after.is_some(),
            retry_after,
            quota_spent: false,
        }
    }

    fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    fn now(&self) -> Timestamp {
        surefoot::Clock::now(&self.clock)
    }
}

impl Bucket {
    fn fill(&mut self, now: Timestamp) {
        let share = (now - self.at).as_secs_f64() / MINUTE.as_secs_f64();
        self.level = (self.level + share * self.flow).min(self.size);
        self.at = now;
    }

    fn wait(&mut self, amount: f64, now: Timestamp) -> Duration {
        self.fill(now);
        self.time_for(amount - self.level)
    }

    /// How long it takes to fill by so much.
    fn time_for(&self, amount: f64) -> Duration {
        MINUTE.mul_f64(amount.max(0.0) / self.flow)
    }
}

fn as_f64(amount: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "amounts are small")]
    let amount = amount as f64;
    amount
}

fn whole(level: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from nothing to a bucket full"
    )]
    let whole = level.max(0.0) as u64;
    whole
}
