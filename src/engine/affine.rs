//! An affine map of the rows of one step, with weights packed for the register tile. It allocates
//! nothing, whatever the number of rows; a library's product packs its operands at every call.

use ndarray::ArrayView2;

use super::sequence::Sequence;
use super::tile::{MAX_STREAMS, for_row_chunks, sweep_onto, sweep_row_onto};
use crate::error::{Result, checked_size};
use crate::parameters::AlignedBuffer;
use crate::simd::{InstructionSet, Kernel, Places, SimdFloat, Vector, dispatch};

/// `y = W x + b` with W and b packed: what makes one register of outputs (a block) stands together,
/// for one input after the other.
#[derive(Debug)]
pub struct PackedAffine<F> {
    set: InstructionSet,
    lanes: usize,
    inputs: usize,
    outputs: usize,
    /// (blocks, inputs, lanes).
    weights: AlignedBuffer<F>,
    /// (blocks, lanes).
    bias: AlignedBuffer<F>,
}

impl<F: SimdFloat> PackedAffine<F> {
    /// Packs W, (outputs, inputs), and b, (outputs,), which is zero when there is none.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when the allocator refuses.
    pub fn pack(set: InstructionSet, weight: ArrayView2<F>, bias: Option<&[F]>) -> Result<Self> {
        let (outputs, inputs) = weight.dim();
        let lanes = set.lanes::<F>();
        let padded = outputs.div_ceil(lanes) * lanes;
        let mut packed = Self {
            set,
            lanes,
            inputs,
            outputs,
            weights: AlignedBuffer::zeroed(checked_size(&[padded, inputs])?)?,
            bias: AlignedBuffer::zeroed(padded)?,
        };
        let to = packed.weights.as_mut_slice();
        for (output, row) in weight.rows().into_iter().enumerate() {
            let start = output / lanes * inputs * lanes + output % lanes;
            for (input, &value) in row.iter().enumerate() {
                to[start + input * lanes] = value;
            }
        }
        if let Some(bias) = bias {
            packed.bias.as_mut_slice()[..outputs].copy_from_slice(bias);
        }
        Ok(packed)
    }

    /// Features of the input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Features of the output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Features of the output in whole registers.
    #[must_use]
    pub fn padded_outputs(&self) -> usize {
        self.bias.as_slice().len()
    }

    /// From (1, rows, inputs) to (rows, padded outputs).
    ///
    /// # Panics
    /// When an operand has other sizes.
    pub fn apply(&self, input: Sequence<'_, F>, output: &mut [F]) {
        let (steps, rows, inputs) = input.sizes();
        // The tiles read and write through pointers: what they rely on is made sure of here.
        assert_eq!((steps, inputs), (1, self.inputs));
        assert_eq!(output.len(), rows * self.padded_outputs());
        let apply = Apply {
            affine: self,
            input,
            output,
        };
        dispatch(self.set, apply);
    }
}

/// The register of a block of outputs.
type One = Places<0, 1>;

struct Apply<'a, F> {
    affine: &'a PackedAffine<F>,
    input: Sequence<'a, F>,
    output: &'a mut [F],
}

impl<F: SimdFloat> Kernel<F> for Apply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(mut self) {
        let (_, rows, inputs) = self.input.sizes();
        let (lanes, padded) = (self.affine.lanes, self.affine.padded_outputs());
        let blocks = padded / lanes;
        if rows == 1 {
            let mut block = 0;
            while block + MAX_STREAMS <= blocks {
                self.single_row::<V, MAX_STREAMS>(block);
                block += MAX_STREAMS;
            }
            while block < blocks {
                self.single_row::<V, 1>(block);
                block += 1;
            }
            return;
        }
        for block in 0..blocks {
            let bias = &self.affine.bias.as_slice()[block * lanes..][..lanes];
            let weights = &self.affine.weights.as_slice()[block * inputs * lanes..];
            assert!(weights.len() >= inputs * lanes);
            for_row_chunks!(V, rows, first, M => {
                let x = (self.input.row_ptr(0, first), (self.input.row_stride(), 1));
                let to = &mut self.output[first * padded + block * lanes..];
                assert!(to.len() >= (M - 1) * padded + lanes);
                let to = (to.as_mut_ptr(), padded);
                // SAFETY: the chunk's rows are rows of the input, with `inputs` numbers each, and of
                // the output, with `padded` numbers each; bias and weights hold the block's.
                unsafe {
                    let (weights, bias) = ((weights.as_ptr(), lanes), (bias.as_ptr(), 0));
                    sweep_onto::<V, [V; 1], One, M>(inputs, x, weights, bias, to);
                }
            });
        }
    }
}

impl<F: SimdFloat> Apply<'_, F> {
    /// `G` blocks of outputs of the only row.
    #[inline(always)]
    fn single_row<V: Vector<Element = F>, const G: usize>(&mut self, block: usize) {
        let (inputs, lanes) = (self.affine.inputs, self.affine.lanes);
        let stream = inputs * lanes;
        let bias = &self.affine.bias.as_slice()[block * lanes..][..G * lanes];
        let weights = &self.affine.weights.as_slice()[block * stream..][..G * stream];
        let output = &mut self.output[block * lanes..][..G * lanes];
        let (x, weights) = ((self.input.row_ptr(0, 0), 0), (weights.as_ptr(), stream));
        let (bias, to) = ((bias.as_ptr(), lanes), (output.as_mut_ptr(), lanes));
        // SAFETY: the row has `inputs` numbers, bias and output G registers, the weights G streams
        // of `inputs` registers.
        unsafe { sweep_row_onto::<V, [V; 1], One, G>(inputs, x, weights, bias, to) };
    }
}
