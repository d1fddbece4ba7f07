//! Steps that advice may take: it is worth little, so it must cost little.

/// Most steps for all the advice on one object: less than half a second. A step is a letter that is looked at, or a
/// state of a pattern that is tried on a letter.
pub(crate) const MAX_STEPS: usize = 10_000_000;

/// What is left of them.
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
    /// Takes so many steps, if there are as many left. Else nothing more is to be done, and nothing is let pass.
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

    /// Whether something was left undone.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Steps that were taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        MAX_STEPS - self.left
    }
}
