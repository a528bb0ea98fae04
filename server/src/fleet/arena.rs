//! Pieces of bytes of any length, one behind the other.
//!
//! A million boxes would each pay their allocator, and hold apart what is freed between them. Here a
//! piece costs its bytes and eight more. One that grows moves to the end and leaves a gap; when a tenth
//! is gaps, all pieces move together.

/// Bytes that are allocated at once: much more than a piece, and little for an arena that is nearly empty.
const CHUNK_BYTES: usize = 1 << 13;

/// Gaps are closed when there is one byte of them to so many.
const BYTES_PER_GAP: usize = 10;

/// Any number of pieces.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
    /// Where each piece lies.
    spans: Vec<Span>,
    /// Bytes of pieces.
    used: usize,
    /// Bytes between them that pieces have left.
    gaps: usize,
}

/// Where a piece lies. One that no chunk holds has a chunk of its own.
#[derive(Clone, Copy, Debug)]
struct Span {
    chunk: u16,
    start: u16,
    length: u32,
}

impl Arena {
    /// Returns how many pieces there are.
    pub(super) const fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns a piece by its number.
    pub(super) fn get(&self, number: usize) -> Option<&[u8]> {
        let span = self.spans.get(number)?;
        self.chunks.get(usize::from(span.chunk))?.get(span.range())
    }

    /// Returns all pieces, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|number| self.get(number))
    }

    /// Adds a piece; its number is how many there were before.
    ///
    /// # Panics
    ///
    /// With more than four gigabytes.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let span = self.append(piece);
        self.spans.push(span);
    }

    /// Puts a piece in the place of another, if there is one with that number.
    ///
    /// # Panics
    ///
    /// With more than four gigabytes.
    pub(super) fn replace(&mut self, number: usize, piece: &[u8]) {
        let Some(old) = self.spans.get(number).copied() else { return };
        self.used -= old.length();
        self.gaps += old.length();
        let span = self.overwrite(old, piece).unwrap_or_else(|| self.append(piece));
        if let Some(place) = self.spans.get_mut(number) {
            *place = span;
        }
        if self.gaps * BYTES_PER_GAP > self.used {
            self.close_gaps();
        }
    }

    /// Writes a piece where one lay that was as long or longer.
    fn overwrite(&mut self, old: Span, piece: &[u8]) -> Option<Span> {
        let length = u32::try_from(piece.len()).ok().filter(|length| *length <= old.length)?;
        let span = Span { length, ..old };
        let chunk = self.chunks.get_mut(usize::from(span.chunk))?;
        chunk.get_mut(span.range())?.copy_from_slice(piece);
        self.used += piece.len();
        self.gaps -= piece.len();
        Some(span)
    }

    /// Writes a piece behind all others.
    fn append(&mut self, piece: &[u8]) -> Span {
        const TOO_MUCH: &str = "an arena has less than four gigabytes";
        let has_room = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() > piece.len();
        if !self.chunks.last().is_some_and(has_room) {
            self.chunks.push(Vec::with_capacity(CHUNK_BYTES.max(piece.len())));
        }
        let chunk = u16::try_from(self.chunks.len() - 1).expect(TOO_MUCH);
        let bytes = self.chunks.last_mut().expect("one was just added");
        let start = u16::try_from(bytes.len()).expect("a chunk has no room behind its end");
        bytes.extend_from_slice(piece);
        self.used += piece.len();
        Span { chunk, start, length: u32::try_from(piece.len()).expect(TOO_MUCH) }
    }

    fn close_gaps(&mut self) {
        let mut moved = Self::default();
        moved.spans.reserve_exact(self.spans.len());
        self.iter().for_each(|piece| moved.push(piece));
        *self = moved;
    }
}

impl Span {
    fn length(self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    fn range(self) -> std::ops::Range<usize> {
        let start = usize::from(self.start);
        start..start.saturating_add(self.length())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_arena_holds_what_a_list_of_boxes_would(
            changes in vec((0..40_usize, 0..70_000_usize, any::<u8>()), 1..200)
        ) {
            let (mut arena, mut boxes) = (Arena::default(), Vec::<Vec<u8>>::new());
            for (number, length, byte) in changes {
                // Most pieces are short.
                let piece = vec![byte; if byte < 250 { length / 300 } else { length }];
                if let Some(old) = boxes.get_mut(number) {
                    arena.replace(number, &piece);
                    *old = piece;
                } else {
                    arena.push(&piece);
                    boxes.push(piece);
                }
                prop_assert_eq!(arena.len(), boxes.len());
                prop_assert_eq!(arena.used, boxes.iter().map(Vec::len).sum::<usize>());
                prop_assert!(arena.gaps * BYTES_PER_GAP <= arena.used);
                for (number, piece) in boxes.iter().enumerate() {
                    prop_assert_eq!(arena.get(number), Some(piece.as_slice()));
                }
            }
        }
    }

    #[test]
    fn pieces_that_grow_for_ever_take_no_more_than_they_need() {
        let mut arena = Arena::default();
        (0..1_000).for_each(|_| arena.push(&[0; 100]));
        for round in 0..100_usize {
            (0..1_000).for_each(|number| arena.replace(number, &vec![0; 100 + round]));
        }
        let allocated: usize = arena.chunks.iter().map(Vec::capacity).sum();
        assert!(allocated <= 199 * 1_000 * 11 / 10 + 2 * CHUNK_BYTES, "{allocated}");
    }
}
