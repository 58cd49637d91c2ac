//! A cell over time in one direction: its parameters and their packed copy.

use std::sync::{Arc, PoisonError, RwLock};

use crate::cells::CellKind;
use crate::engine::{EngineFloat, Geometry, MasterWeights, PackedGradients, PackedWeights};
use crate::error::Result;
use crate::init::Role;
use crate::memory::copied_vec;
use crate::parameters::{AlignedBuffer, Parameters, Reading, Writing};
use crate::regularization::masks::{DrawnMask, multiply};
use crate::simd::InstructionSet;

/// The place of the forget gate among an LSTM's, whose order is i, f, g, o.
const FORGET_GATE: usize = 1;

/// One direction of one layer.
#[derive(Debug)]
pub struct Recurrent<F> {
    geometry: Geometry,
    /// Indices among the module's parameters: weights, then biases and the cell's constants if there
    /// are any.
    input: usize,
    hidden: usize,
    biases: Option<(usize, usize)>,
    constants: Option<usize>,
    /// The packed weights and the version that they have, replaced as a whole.
    packed: RwLock<Option<(u64, Arc<PackedWeights<F>>)>>,
}

impl<F: EngineFloat> Recurrent<F> {
    /// A direction whose parameters start at index `first` of the module's.
    #[must_use]
    pub fn new(
        set: InstructionSet,
        cell: CellKind,
        inputs: usize,
        hidden: usize,
        first: usize,
        bias: bool,
    ) -> Self {
        Self {
            geometry: Geometry {
                cell,
                inputs,
                hidden,
                set,
                lanes: set.lanes::<F>(),
            },
            input: first,
            hidden: first + 1,
            biases: bias.then_some((first + 2, first + 3)),
            constants: (cell.constants() > 0).then_some(if bias { first + 4 } else { first + 2 }),
            packed: RwLock::new(None),
        }
    }

    /// Names and shapes of a direction's parameters, in order.
    #[must_use]
    pub fn parameter_shapes(
        cell: CellKind,
        inputs: usize,
        hidden: usize,
        bias: bool,
        suffix: &str,
    ) -> Vec<(String, Vec<usize>)> {
        // An absurd size saturates, and is refused when the parameters are allocated.
        let rows = hidden.saturating_mul(cell.gates());
        let mut shapes = vec![
            (format!("weight_ih{suffix}"), vec![rows, inputs]),
            (format!("weight_hh{suffix}"), vec![rows, hidden]),
        ];
        if bias {
            shapes.push((format!("bias_ih{suffix}"), vec![rows]));
            shapes.push((format!("bias_hh{suffix}"), vec![rows]));
        }
        // Peepholes are the only constants that cells have.
        if cell.constants() > 0 {
            let len = hidden.saturating_mul(cell.constants());
            shapes.push((format!("peephole{suffix}"), vec![len]));
        }
        shapes
    }

    /// The sizes.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What the parameter at an index of the module's is to this direction.
    #[must_use]
    pub fn role(&self, index: usize) -> Role {
        match self.biases {
            _ if index == self.input => Role::InputWeights,
            _ if index == self.hidden => Role::RecurrentWeights,
            Some((input, hidden)) if index == input || index == hidden => Role::Bias,
            _ => Role::Other,
        }
    }

    /// Sets an LSTM's biases of the forget gate: the input's to `value`, the recurrent one to zero.
    pub fn set_forget_bias(&self, writing: &mut Writing<'_, F>, value: f64) {
        let hidden = self.geometry.hidden;
        let gate = FORGET_GATE * hidden..(FORGET_GATE + 1) * hidden;
        if let Some((input, recurrent)) = self.biases {
            writing.slice_mut(input)[gate.clone()].fill(F::of(value));
            writing.slice_mut(recurrent)[gate].fill(F::zero());
        }
    }

    /// The packed weights, made again when the masters have changed.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn packed(&self, masters: &Reading<'_, F>) -> Result<Arc<PackedWeights<F>>> {
        let version = masters.version();
        if let Some((packed_version, packed)) =
            &*self.packed.read().unwrap_or_else(PoisonError::into_inner)
            && *packed_version == version
        {
            return Ok(Arc::clone(packed));
        }
        let packed = Arc::new(self.pack(masters, masters.slice(self.hidden))?);
        *self.packed.write().unwrap_or_else(PoisonError::into_inner) =
            Some((version, Arc::clone(&packed)));
        Ok(packed)
    }

    /// The packed weights with recurrent weights times a mask.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn packed_masked(
        &self,
        masters: &Reading<'_, F>,
        mask: &DrawnMask<F>,
    ) -> Result<Arc<PackedWeights<F>>> {
        let mut hidden = copied_vec(masters.slice(self.hidden))?;
        multiply(&mut hidden, mask.elements());
        Ok(Arc::new(self.pack(masters, &hidden)?))
    }

    /// Packs weights, with recurrent ones that may differ from the masters.
    fn pack(&self, masters: &Reading<'_, F>, hidden: &[F]) -> Result<PackedWeights<F>> {
        let biases = self.biases;
        let weights = MasterWeights {
            input: masters.slice(self.input),
            hidden,
            biases: biases.map(|(input, hidden)| (masters.slice(input), masters.slice(hidden))),
            constants: self.constants.map(|index| masters.slice(index)),
        };
        PackedWeights::pack(self.geometry, weights)
    }

    /// Adds packed gradients to a gradient buffer of the module's layout, in which this direction's
    /// are zero. `mask` is what the recurrent weights were multiplied by.
    pub fn add_gradients(
        &self,
        gradients: &PackedGradients<F>,
        mask: Option<&DrawnMask<F>>,
        parameters: &Parameters<F>,
        buffer: &mut AlignedBuffer<F>,
    ) {
        let entries = parameters.entries();
        let mut parts = split(
            buffer.as_mut_slice(),
            [Some(self.input), Some(self.hidden)]
                .into_iter()
                .chain([self.biases.map(|b| b.0), self.biases.map(|b| b.1)])
                .chain([self.constants])
                .flatten()
                .map(|index| entries[index].range()),
        )
        .into_iter();
        if let (Some(input), Some(hidden)) = (parts.next(), parts.next()) {
            let biases = self.biases.and_then(|_| parts.next().zip(parts.next()));
            gradients.unpack(MasterWeights {
                input,
                hidden: &mut *hidden,
                biases,
                constants: parts.next(),
            });
            if let Some(mask) = mask {
                multiply(hidden, mask.elements());
            }
        }
    }
}

/// Disjoint ascending ranges of one slice.
fn split<F>(
    mut rest: &mut [F],
    ranges: impl Iterator<Item = std::ops::Range<usize>>,
) -> Vec<&mut [F]> {
    let mut consumed = 0;
    let mut parts = Vec::new();
    for range in ranges {
        let (_, tail) = rest.split_at_mut(range.start - consumed);
        let (part, tail) = tail.split_at_mut(range.len());
        parts.push(part);
        consumed = range.end;
        rest = tail;
    }
    parts
}
