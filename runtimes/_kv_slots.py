"""Keys and values of the requests in a batch, one row each, for graphs that write them in place.

A graph with GroupQueryAttention takes its past and gives its present in the same buffer, each row with a length of
its own (com.microsoft.GroupQueryAttention, `past_present_share_buffer`). So a request can take or leave a row between
two steps while the others keep theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
GROWTH_TOKENS = 256


class KvSlots:
    """Per layer and kind an array of shape (rows, kv heads, capacity, head dim); `capacity` grows when asked to."""

    def __init__(self, settings: dict[str, Any], session: Any, rows: int) -> None:
        """`settings` is genai_config.json's `model`, which names and sizes the cache."""
        self._names, self._context = names(settings), int(settings["context_length"])
        self._sizes = rows, int(settings["decoder"]["num_key_value_heads"]), int(settings["decoder"]["head_size"])
        types = {found.name: found.type for found in session.get_inputs()}
        self._dtype = DTYPES[types[next(iter(self._names))]]
        self.capacity = 0
        self._arrays: dict[str, Any] = {}
        self.require(min(GROWTH_TOKENS, self._context))

    def require(self, tokens: int) -> bool:
        """Make room for `tokens` in every row; True if the buffers moved and must be bound again."""
        if tokens <= self.capacity:
            return False
        rounded = -(-max(tokens, self.capacity + self.capacity // 2) // GROWTH_TOKENS) * GROWTH_TOKENS
        capacity = min(rounded, self._context)
        rows, heads, width = self._sizes
        for name in self._names:
            grown = np.zeros((rows, heads, capacity, width), dtype=self._dtype)
            if self.capacity:
                grown[:, :, : self.capacity] = self._arrays[name]
            self._arrays[name] = grown
        self.capacity = capacity
        return True

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of row `source` to row `target`."""
        if source != target:
            for array in self._arrays.values():
                array[target, :, :tokens] = array[source, :, :tokens]

    def bind(self, binding: Any, first: int, count: int) -> None:
        """Bind rows `first` to `first + count` as past and as present."""
        for past, present in self._names.items():
            rows = self._arrays[past][first : first + count]
            place = ("cpu", 0, self._dtype, rows.shape, rows.ctypes.data)
            binding.bind_input(past, *place)
            binding.bind_output(present, *place)


def names(settings: dict[str, Any]) -> dict[str, str]:
    """Past input to present output of every layer, as genai_config.json's `model` names them."""
    decoder = settings["decoder"]
    inputs, outputs = decoder["inputs"], decoder["outputs"]
    return {
        inputs[f"past_{kind}_names"] % layer: outputs[f"present_{kind}_names"] % layer
        for layer in range(decoder["num_hidden_layers"])
        for kind in ("key", "value")
    }
