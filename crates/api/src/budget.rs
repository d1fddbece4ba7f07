//! Limit of the work that warnings may cost: they are optional, so an object must not make them expensive.

/// Maximum steps for all warnings of one object, less than half a second. A step compares one character, or one state
/// of a pattern with one character.
pub(crate) const MAX_STEPS: usize = 10_000_000;

/// The steps that remain.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    left: usize,
    is_spent: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: MAX_STEPS, is_spent: false }
    }
}

impl Budget {
    /// Takes steps from the budget. False once the budget is exceeded, for all later calls too.
    pub(crate) fn spend(&mut self, steps: usize) -> bool {
        match self.left.checked_sub(steps) {
            Some(left) if !self.is_spent => {
                self.left = left;
                true
            }
            _ => {
                self.is_spent = true;
                false
            }
        }
    }

    /// Whether the budget was exceeded, so that some checks were skipped.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// The steps taken so far.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        MAX_STEPS - self.left
    }
}
