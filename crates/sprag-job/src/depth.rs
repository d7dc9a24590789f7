//! How deep a document may be nested: a bit for each container that is open, no stack.

/// How many objects and arrays may be open at once, in any part of a document: one bit of a word for each.
///
/// An AWS job execution with an `afr_ota` document in it opens six.
pub const MAX_DEPTH: usize = 64;

/// The kinds of the containers that are open, a bit each, the innermost lowest.
#[derive(Default)]
pub(crate) struct Open {
    objects: u64,
    depth: usize,
}

impl Open {
    /// Whether there was room.
    pub(crate) fn push(&mut self, object: bool) -> bool {
        if self.depth >= MAX_DEPTH {
            return false;
        }
        self.objects = self.objects << 1 | u64::from(object);
        self.depth = self.depth.saturating_add(1);
        true
    }

    pub(crate) fn pop(&mut self) {
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether the innermost is an object; `None` when none is open.
    pub(crate) fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.objects & 1 == 1)
    }
}

/// How deep sound JSON is nested: 0 for a string or number, 1 for `[]`, 2 for `[{}]`.
#[cfg(any(test, feature = "serde"))]
pub(crate) fn of(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0usize, false, false);
    for byte in json.bytes() {
        match (quoted, byte) {
            _ if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'{' | b'[') => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        for (json, depth) in
            [("1", 0), (r#""[[\"[[""#, 0), ("[]", 1), (r#"{"a":[{}],"b":[[]]}"#, 3), (r#"["\\",[]]"#, 2)]
        {
            assert_eq!(of(json), depth, "{json}");
        }
    }
}
