"""The axis legend and every tensor alias. One letter, one meaning, in the whole package.

B batch (rows)   T time steps   D model width   H heads   K query/key width per head
V value width per head   W convolution window   G gates (input, forget, cell input, output)
N patches   P patch length   F token features   Z horizon   Q quantile levels   S floats per state
"""

from jaxtyping import Bool, Float
from torch import Tensor

Hidden = Float[Tensor, "B T D"]
HiddenStep = Float[Tensor, "B D"]
Queries = Float[Tensor, "B H T K"]
Values = Float[Tensor, "B H T V"]
GatePreacts = Float[Tensor, "B H T"]
MatrixMemory = Float[Tensor, "B H K V"]
MLSTMNormalizer = Float[Tensor, "B H K"]
MLSTMStabilizer = Float[Tensor, "B H"]
QueriesStep = Float[Tensor, "B H K"]
ValuesStep = Float[Tensor, "B H V"]
GatePreactsStep = Float[Tensor, "B H"]
SLSTMPreacts = Float[Tensor, "B T G H D"]
SLSTMPreactsStep = Float[Tensor, "B G H D"]
SLSTMRecurrent = Float[Tensor, "H Din G Dout"]
SLSTMOutputs = Float[Tensor, "B T H D"]
SLSTMUnits = Float[Tensor, "B H D"]
ConvWeight = Float[Tensor, "D W"]
ConvBias = Float[Tensor, " D"]
ConvWindow = Float[Tensor, "B W1 D"]
StepMask = Bool[Tensor, "B T"]
FlatState = Float[Tensor, "B S"]
