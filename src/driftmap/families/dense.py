"""Which model types need more than their structure to be read?

Families whose maps are called `q_proj`, `gate_proj` and so on (llama, mistral,
qwen, gemma, olmo, granite, ...) need no row: they are found by structure.
"""

from driftmap.core.places import Part
from driftmap.families.spec import Family, Fused

PLAIN = Family(
    name="llama",
    maps={
        "q_proj": "q",
        "k_proj": "k",
        "v_proj": "v",
        "o_proj": "o",
        "gate_proj": "gate",
        "up_proj": "up",
        "down_proj": "down",
        "fc1": "up",
        "fc2": "down",
        "c_fc": "up",
        "dense_h_to_4h": "up",
        "dense_4h_to_h": "down",
    },
)
"""Names that mean the same in every model type."""

_QKV = Fused(parts=("q", "k", "v"))
_QKV_BY_HEAD = Fused(parts=("q", "k", "v"), by_head=True)
_GATE_UP = Fused(parts=("gate", "up"))

FAMILIES: tuple[Family, ...] = (
    Family(name="bloom", maps={"query_key_value": _QKV_BY_HEAD}),
    Family(name="falcon", maps={"query_key_value": _QKV_BY_HEAD}),
    Family(name="glm", maps={"gate_up_proj": _GATE_UP}),
    Family(name="glm4", maps={"gate_up_proj": _GATE_UP}),
    Family(name="gpt2", maps={"c_attn": _QKV}),
    Family(name="gpt_bigcode", maps={"c_attn": _QKV_BY_HEAD}),
    Family(name="gpt_neox", maps={"query_key_value": _QKV_BY_HEAD}),
    Family(name="mpt", maps={"Wqkv": _QKV}),
    Family(name="persimmon", maps={"query_key_value": _QKV_BY_HEAD}),
    Family(name="phi3", maps={"qkv_proj": _QKV, "gate_up_proj": _GATE_UP}),
)
"""One row per model type; `docs/how-to/add-a-model-family.md` walks through one."""

_SHARED: dict[str, Part | Fused] = {
    "shared_mlp.input_linear": _GATE_UP,
    "shared_mlp.output_linear": "down",
}

MIXTURES: tuple[Family, ...] = (
    Family(name="dbrx", maps={"Wqkv": _QKV}),
    Family(name="granitemoehybrid", maps=_SHARED),
    Family(name="granitemoeshared", maps=_SHARED),
    Family(name="lfm2_moe", maps={"w1": "gate", "w3": "up", "w2": "down"}),
    Family(name="qwen2_moe", maps={"shared_expert_gate": "router"}),
    Family(name="qwen3_5_moe_text", maps={"shared_expert_gate": "router"}),
    Family(name="qwen3_next", maps={"shared_expert_gate": "router"}),
)
"""Rows for what mixtures of experts have outside their banks; banks need none."""
