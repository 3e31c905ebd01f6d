//! The shape of a linear layer.

use fusion_ir::{Function, Op, ValueId};

use super::{MAX_EXTENT, MAX_TAPS, Refusal};

/// The most elements that an operand, a result or a kernel may have.
const MAX_ELEMENTS: usize = 1 << 32;

/// The shape of a convolution. A fully connected layer is one whose image is a single pixel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Geometry {
    /// Operand: channels, rows, columns.
    pub input: [usize; 3],
    /// Result channels.
    pub outputs: usize,
    /// Kernel rows, columns.
    pub kernel: [usize; 2],
    /// Rows, columns.
    pub strides: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Rows, columns.
    pub dilations: [usize; 2],
    /// Channel groups; divides the operand's and the result's channels.
    pub groups: usize,
}

/// A linear layer as every family sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What is summed up.
    pub geometry: Geometry,
    /// Width of operand and result.
    pub acc_bits: u8,
    /// Width of the kernel's elements.
    pub weight_bits: u8,
}

impl Shape {
    /// That of the linear layer `id`; refused if operand, kernel and result do not fit each other.
    pub fn of(function: &Function, id: ValueId) -> Result<Shape, Refusal> {
        let value = function.value(id);
        let operand = value.operands.first().map(|&operand| function.value(operand).ty.shape.as_slice());
        let kernel = value.op.kernel().map(|kernel| function.weight(kernel));
        let weight = kernel.map(|kernel| kernel.shape.as_slice());
        let geometry = match (&value.op, operand, weight) {
            (Op::Conv(conv), Some(&[channels, height, width]), Some(&[outputs, _, rows, columns])) => Geometry {
                input: [channels, height, width],
                outputs,
                kernel: [rows, columns],
                strides: conv.strides,
                pads: conv.pads,
                dilations: conv.dilations,
                groups: conv.groups,
            },
            (Op::Dense { .. }, Some(&[inputs]), Some(&[outputs, _])) => Geometry::dense(inputs, outputs),
            _ => return Err(Refusal::Malformed),
        };
        geometry.check()?;
        let kernel_inputs = weight.and_then(|shape| shape.get(1).copied());
        let fits = kernel_inputs == Some(geometry.group()[0]) && value.ty.len() == geometry.output_len();
        match kernel.filter(|_| fits) {
            Some(kernel) => Ok(Shape { geometry, acc_bits: value.ty.bits, weight_bits: kernel.bits }),
            None => Err(Refusal::Malformed),
        }
    }
}

impl Geometry {
    /// A fully connected layer from `inputs` to `outputs` elements.
    pub fn dense(inputs: usize, outputs: usize) -> Geometry {
        Geometry {
            input: [inputs, 1, 1],
            outputs,
            kernel: [1, 1],
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            groups: 1,
        }
    }

    /// Refuses extents of zero, tensors of more than 2^32 elements, groups that do not divide the
    /// channels, windows that do not fit, padding as large as the window (whole windows of
    /// nothing), and, so that work on the layout ends soon whatever a plan says, images beyond
    /// [`MAX_EXTENT`] and windows of more than [`MAX_TAPS`] taps.
    pub fn check(&self) -> Result<(), Refusal> {
        let [channels, rows, columns] = self.input;
        let small = |extents: &[usize]| {
            let product = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
            product.is_some_and(|product| (1..=MAX_ELEMENTS).contains(&product))
        };
        let fits = |i: usize| {
            let (before, after) = (self.pads[i], self.pads[i + 2]);
            let window = self.dilations[i] * (self.kernel[i] - 1) + 1;
            before < window && after < window && window <= self.input[i + 1] + before + after
        };
        let fine = small(&[channels, rows, columns])
            && small(&[self.outputs, channels, self.kernel[0], self.kernel[1]])
            && small(&[self.kernel[0], self.dilations[0]])
            && small(&[self.kernel[1], self.dilations[1]])
            && small(&self.strides)
            && self.groups > 0
            && channels.is_multiple_of(self.groups)
            && self.outputs.is_multiple_of(self.groups)
            && fits(0)
            && fits(1)
            && small(&[self.outputs, self.output()[0], self.output()[1]]);
        if !fine {
            return Err(Refusal::Malformed);
        }
        if [rows, columns].into_iter().chain(self.output()).any(|extent| extent > MAX_EXTENT) {
            return Err(Refusal::Extent);
        }
        if self.kernel[0] * self.kernel[1] > MAX_TAPS { Err(Refusal::Window) } else { Ok(()) }
    }

    /// Rows and columns of the result.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            let padded = self.input[i + 1] + self.pads[i] + self.pads[i + 2];
            (padded - self.dilations[i] * (self.kernel[i] - 1) - 1) / self.strides[i] + 1
        })
    }

    /// Channels of one group: operand, result.
    pub fn group(&self) -> [usize; 2] {
        [self.input[0] / self.groups, self.outputs / self.groups]
    }

    /// Elements of the operand.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Elements of the result.
    pub fn output_len(&self) -> usize {
        self.outputs * self.output().iter().product::<usize>()
    }

    /// Elements of the kernel.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.group()[0] * self.kernel.iter().product::<usize>()
    }
}
