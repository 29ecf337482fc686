//! A hash table in which a look-up of a small key touches one cache line.

use std::ops::Range;

/// Keys with what is kept of each, in lines of a few places.
///
/// With more keys than fit into caches, a look-up waits for memory and for little else. Tables that
/// keep a byte of each hash apart from the entries, as hashbrown's, wait twice: for the bytes, and
/// then for the entry. Here the bytes stand beside their entries. A key belongs into the line that
/// its hash names, or else into the next one that has room, and each line counts how many went
/// past it, so that a search ends where nobody did and a removal leaves nothing behind.
///
/// Tables grow by half, and are filled to at most four fifths.
///
/// Source: N. Bronson and X. Shi, "Open-sourcing F14 for faster, more memory-efficient hash
/// tables" (2019), for lines with tags and the counts that do without tombstones.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    lines: Box<[Line<K, V>]>,
    len: usize,
}

/// Keys in a line: with 16 bytes for a key and its state, three and their tags fill a cache line.
pub(super) const PLACES: usize = 3;

#[repr(align(64))]
#[derive(Debug)]
struct Line<K, V> {
    /// Of each place's key, seven bits of its hash below [`TAKEN`]; 0 if there is none.
    tags: [u8; PLACES],
    /// Keys that belong here or further ahead and stand behind; at [`UNCOUNTED`] no longer counted.
    passed: u8,
    places: [Option<(K, V)>; PLACES],
}

const TAKEN: u8 = 1 << 7;
const UNCOUNTED: u8 = u8::MAX;

/// Where a key stands.
#[derive(Clone, Copy)]
struct Position {
    line: usize,
    place: usize,
}

impl<K, V> Line<K, V> {
    /// A bit for each place with this tag. In which of them a key stands is up to chance, so that a
    /// branch for each would be foreseen wrongly half of the time, and that costs as much as all else.
    #[inline]
    fn tagged(&self, tag: u8) -> u8 {
        let places = self.tags.iter().enumerate();
        places.fold(0, |found, (place, known)| found | u8::from(*known == tag) << place)
    }
}

impl<K, V> Default for Line<K, V> {
    fn default() -> Self {
        Self { tags: [0; PLACES], passed: 0, places: [const { None }; PLACES] }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { lines: Box::default(), len: 0 }
    }
}

impl<K, V> Table<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Keys for which there is room.
    pub(super) fn capacity(&self) -> usize {
        capacity(self.lines.len())
    }

    #[inline]
    pub(super) fn find_mut(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&mut V> {
        let Position { line, place } = self.position(hash, is)?;
        let entry = self.lines.get_mut(line)?.places.get_mut(place)?;
        entry.as_mut().map(|(_, value)| value)
    }

    /// Puts in a key that is not there. `rehash` is asked when the table grows.
    pub(super) fn insert(&mut self, hash: u64, key: K, value: V, rehash: impl Fn(&K) -> u64) {
        if self.len >= self.capacity() {
            let lines = self.lines.len();
            self.rebuild(lines + lines / 2 + 1, rehash);
        }
        self.put(hash, key, value);
    }

    pub(super) fn remove(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<(K, V)> {
        let at = self.position(hash, is)?;
        self.take(at, self.home(hash))
    }

    /// All of it, for what looks at lines.
    pub(super) fn lines(&self) -> Range<usize> {
        0..self.lines.len()
    }

    /// Up to `most` lines, among them the one of `hash`.
    pub(super) fn lines_around(&self, hash: u64, most: usize) -> Range<usize> {
        let from = self.home(hash).min(self.lines.len().saturating_sub(most));
        from..self.lines.len().min(from + most)
    }

    /// Takes out all keys in some lines that are `wanted`, and hands each on.
    pub(super) fn extract(
        &mut self,
        lines: Range<usize>,
        mut wanted: impl FnMut(&K, &V) -> bool,
        rehash: impl Fn(&K) -> u64,
        mut each: impl FnMut(K, V),
    ) {
        for line in lines {
            for place in 0..PLACES {
                let Some((key, value)) = &self.lines[line].places[place] else { continue };
                if wanted(key, value) {
                    let home = if self.has_guests(line) { self.home(rehash(key)) } else { line };
                    if let Some((key, value)) = self.take(Position { line, place }, home) {
                        each(key, value);
                    }
                }
            }
        }
    }

    /// Gives memory back if most of it is not used.
    pub(super) fn shrink(&mut self, rehash: impl Fn(&K) -> u64) {
        if self.capacity() / 4 > self.len {
            let lines = (self.len + self.len / 4).div_ceil(PLACES);
            self.rebuild(lines, rehash);
        }
    }

    /// What is in some lines.
    pub(super) fn iter(&self, lines: Range<usize>) -> impl Iterator<Item = &(K, V)> {
        let lines = self.lines.get(lines).unwrap_or_default();
        lines.iter().flat_map(|line| line.places.iter().flatten())
    }

    #[inline]
    fn position(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<Position> {
        let (mut at, tag) = (self.home(hash), tag(hash));
        // Round once, should no line on the way be counting any more.
        for _ in 0..self.lines.len() {
            let line = self.lines.get(at)?;
            let mut candidates = line.tagged(tag);
            while candidates != 0 {
                let place = candidates.trailing_zeros() as usize;
                if line.places[place].as_ref().is_some_and(|(key, _)| is(key)) {
                    return Some(Position { line: at, place });
                }
                candidates &= candidates - 1;
            }
            if line.passed == 0 {
                return None;
            }
            at = self.behind(at);
        }
        None
    }

    /// Puts a key where there is room, which there is.
    fn put(&mut self, hash: u64, key: K, value: V) {
        let mut at = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = &mut self.lines[at];
            if let Some(place) = line.tags.iter().position(|tag| *tag == 0) {
                line.tags[place] = tag(hash);
                line.places[place] = Some((key, value));
                self.len += 1;
                return;
            }
            line.passed = line.passed.saturating_add(1);
            at = self.behind(at);
        }
    }

    fn take(&mut self, at: Position, home: usize) -> Option<(K, V)> {
        let line = &mut self.lines[at.line];
        line.tags[at.place] = 0;
        let entry = line.places[at.place].take();
        self.len -= usize::from(entry.is_some());
        let mut passed = home;
        // Not for ever, should a key's hash have changed.
        for _ in 0..self.lines.len() {
            if passed == at.line {
                break;
            }
            let line = &mut self.lines[passed];
            if line.passed != UNCOUNTED {
                line.passed = line.passed.saturating_sub(1);
            }
            passed = self.behind(passed);
        }
        entry
    }

    /// Whether keys may stand in this line that belong into one before.
    fn has_guests(&self, line: usize) -> bool {
        let before = line.checked_sub(1).unwrap_or(self.lines.len() - 1);
        self.lines[before].passed > 0
    }

    fn rebuild(&mut self, lines: usize, rehash: impl Fn(&K) -> u64) {
        // All hashes first: while something is moved, nothing is called that may panic.
        let hashes: Vec<u64> = self.iter(self.lines()).map(|(key, _)| rehash(key)).collect();
        let lines = (0..lines).map(|_| Line::default()).collect();
        let old = std::mem::replace(self, Self { lines, len: 0 });
        let entries = old.lines.into_iter().flat_map(|line| line.places.into_iter().flatten());
        for (hash, (key, value)) in hashes.into_iter().zip(entries) {
            self.put(hash, key, value);
        }
    }

    /// The line into which a key belongs: the lower half of the hash, as a share of all lines.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        let share = (hash & u64::from(u32::MAX)) * self.lines.len() as u64;
        (share >> 32) as usize
    }

    #[inline]
    fn behind(&self, line: usize) -> usize {
        if line + 1 < self.lines.len() { line + 1 } else { 0 }
    }
}

fn capacity(lines: usize) -> usize {
    lines * PLACES * 4 / 5
}

fn tag(hash: u64) -> u8 {
    (hash >> 57) as u8 | TAKEN
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A table and what has to be in it, under a hash of so many different values.
    struct Pair {
        table: Table<u64, u64>,
        model: BTreeMap<u64, u64>,
        hash: fn(u64) -> u64,
    }

    impl Pair {
        fn new(hash: fn(u64) -> u64) -> Self {
            Self { table: Table::default(), model: BTreeMap::new(), hash }
        }

        fn set(&mut self, key: u64, value: u64) {
            let hash = (self.hash)(key);
            match self.table.find_mut(hash, |known| *known == key) {
                Some(known) => *known = value,
                None => self.table.insert(hash, key, value, rehash(self.hash)),
            }
            self.model.insert(key, value);
        }

        fn remove(&mut self, key: u64) {
            let removed = self.table.remove((self.hash)(key), |known| *known == key);
            assert_eq!(removed, self.model.remove(&key).map(|value| (key, value)));
        }

        fn retain(&mut self, stays: impl Fn(u64) -> bool) {
            let mut left = vec![];
            let lines = self.table.lines();
            self.table.extract(
                lines,
                |key, _| !stays(*key),
                rehash(self.hash),
                |key, _| {
                    left.push(key);
                },
            );
            assert!(left.iter().all(|key| !stays(*key) && self.model.contains_key(key)));
            self.table.shrink(rehash(self.hash));
            self.model.retain(|key, _| stays(*key));
        }

        fn agree(&mut self) {
            assert_eq!(self.table.len(), self.model.len());
            let entries: BTreeMap<_, _> = self.table.iter(self.table.lines()).copied().collect();
            assert_eq!(entries, self.model);
            for key in 0..700 {
                let found = self.table.find_mut((self.hash)(key), |known| *known == key);
                assert_eq!(found.copied(), self.model.get(&key).copied(), "{key}");
            }
            // An empty table has nothing behind which a search would go on.
            if self.model.is_empty() {
                let passed = self.table.lines.iter().map(|line| line.passed).max();
                assert!(passed.is_none_or(|passed| passed == 0 || passed == UNCOUNTED));
            }
        }
    }

    fn rehash(hash: fn(u64) -> u64) -> impl Fn(&u64) -> u64 {
        move |key| hash(*key)
    }

    fn spread(key: u64) -> u64 {
        key.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// A random history under `hash`.
    fn live_through(hash: fn(u64) -> u64) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut pair = Pair::new(hash);
        for round in 0..60 {
            let among = 1 << random.u64(0..10);
            for _ in 0..random.usize(0..400) {
                let key = random.u64(0..among);
                if random.u8(0..4) == 0 { pair.remove(key) } else { pair.set(key, random.u64(..)) }
            }
            pair.agree();
            let (every, kept) = (random.u64(1..6), random.u64(0..6));
            pair.retain(|key| round % 7 != 0 && key % every <= kept);
            pair.agree();
        }
        pair.retain(|_| false);
        pair.agree();
        assert_eq!(pair.table.capacity(), 0, "what holds nothing takes no memory");
    }

    #[test]
    fn it_holds_what_was_put_in_and_not_removed() {
        live_through(spread);
    }

    #[test]
    fn keys_of_one_hash_or_of_few_find_room_in_other_lines_and_leave_nothing_behind() {
        live_through(|_| 0);
        live_through(|_| u64::MAX);
        live_through(|key| (key % 5) << 30);
        live_through(|key| spread(key) << 29 & u64::from(u32::MAX));
    }

    #[test]
    fn it_is_filled_to_at_least_half_and_grows_by_half() {
        let mut pair = Pair::new(spread);
        for key in 0..10_000 {
            pair.set(key, 0);
            let places = pair.table.lines.len() * PLACES;
            assert!(key < 30 || places < 2 * pair.table.len(), "{key}: {places}");
        }
    }

    #[test]
    fn a_stretch_of_lines_has_the_one_of_the_hash_and_does_not_go_beyond_the_last() {
        let mut pair = Pair::new(spread);
        (0..1_000).for_each(|key| pair.set(key, 0));
        let all = pair.table.lines();
        for hash in (0..1_000).map(spread) {
            let stretch = pair.table.lines_around(hash, 7);
            assert_eq!(stretch.len(), 7);
            assert!(stretch.contains(&pair.table.home(hash)) && stretch.end <= all.end);
            assert_eq!(pair.table.lines_around(hash, all.len()), all);
        }
    }

    #[test]
    fn three_keys_of_eight_bytes_fill_a_cache_line() {
        use super::super::super::lane::Tat;
        assert_eq!(size_of::<Line<u64, Tat>>(), 64);
        assert_eq!(size_of::<Line<String, Tat>>(), 128);
    }
}
