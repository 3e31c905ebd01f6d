//! A small plan and in-process connections for this crate's tests.

use fusion_ir::plan::{Plan, Provenance, Suggestion};
use fusion_ir::{Weights, text};

use crate::transport::Connection;

/// The two ends of a connection over in-process pipes.
pub(crate) fn connections() -> (Connection, Connection) {
    let ((from_right, to_left), (from_left, to_right)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let connect = |reader, writer| Connection::new(reader, writer, std::time::Duration::MAX).unwrap();
    (connect(from_right, to_right), connect(from_left, to_left))
}

/// Two inputs, three classes, `scores = W x` with `W = [1 0; 0 1; -1 -1]`; no demo samples.
pub(crate) fn tiny_plan() -> Plan {
    let function = text::parse(
        "function \"tiny\"\nweight @w0 \"w\" : i12.4[3,2]\n\
         v0 = input : i20.4~9[2] by local \"x\"\nv1 = dense v0, @w0 : i20.8~18[3] by cheetah \"d\"\n\
         v2 = argmax v1 : i3.0~2+[1] by cheetah \"a\"\nv3 = fusion.reveal v2 what=label : i3.0~2+[1] by cheetah \"a\"\n",
    )
    .expect("the text is well-formed");
    let weights = Some(Weights(vec![vec![16, 0, 0, 16, -16, -16]]));
    Plan { function, suggestion: Suggestion::default(), provenance: Provenance::default(), weights, demo: None }
}
