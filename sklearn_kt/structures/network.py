"""The graph network of CHGNet as a torch module: batches of ragged graphs, and pooling.

Imports torch, skorch and chgnet; everything else imports it inside functions.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_kt.compositions import ELEMENTS, CompositionBatch, read_compositions
from sklearn_kt.encoder.training import Inputs, one_thread

from .candidate import Candidate
from .chgnet import crystal_graph, load_chgnet

__all__ = ["CrystalNetwork", "CrystalRows", "run_network"]

# Beneath the root of variances, whose slope at zero is infinite.
_TINY = 1e-6
_ATTENTION_WIDTH = 64
_INDICES = ("numbers", "edges", "undirected", "directed", "angles")


class CrystalRows(Inputs):
    """Graphs of the crystals of each row.

    Parameters
    ----------
    graphs : list of list of dict
        Of each row's crystals, as :meth:`read` makes them.
    energies : list of ndarray
        In eV/atom, of each row's crystals.
    targets : ndarray of shape (n, n_outputs) or (n,), optional
        Scaled targets (float32), or class indices (int64).
    weights : ndarray of shape (n,), optional
        Of the rows in the loss.

    Attributes
    ----------
    lengths : ndarray of shape (n,)
        Bonds in each row; 0 where it has no crystal.
    """

    lengths: np.ndarray

    def __init__(
        self,
        graphs: list[list[dict[str, Any]]],
        energies: list[np.ndarray],
        targets: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        lengths = np.array([sum(len(g["edges"]) for g in row) for row in graphs], int)
        super().__init__({}, lengths, targets, weights=weights)
        self.graphs = graphs
        self.energies = energies

    @classmethod
    def read(cls, rows: Sequence[Sequence[Candidate]], progress: bool = False) -> CrystalRows:
        """Build the graphs of each row's crystals; those that CHGNet cannot take are left out."""
        from tqdm import tqdm

        model = load_chgnet()
        graphs, energies = [], []
        for row in tqdm(rows, desc="graphs", disable=not progress, file=sys.stderr):
            found = [crystal_graph(candidate.structure) for candidate in row]
            whole = [graph for graph in found if graph is not None]
            values = np.zeros(len(whole))
            if len(whole) > 1:
                with torch.no_grad():
                    values[:] = [float(model([graph], task="e")["e"]) for graph in whole]
            graphs.append([_arrays(graph) for graph in whole])
            energies.append(values)
        return cls(graphs, energies)

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, rows: Any) -> tuple[dict[str, torch.Tensor], Any]:
        """Batch of the given rows, their graphs side by side."""
        rows = np.asarray(rows)
        parts: dict[str, list[Any]] = {name: [] for name in (*_INDICES, "vectors", "crystal")}
        owner: list[int] = []
        energies: list[float] = []
        atoms = directed = undirected = 0
        for place, row in enumerate(rows.tolist()):
            for graph, energy in zip(self.graphs[row], self.energies[row], strict=True):
                offsets = {
                    "edges": atoms,
                    "undirected": undirected,
                    "directed": directed,
                    "angles": np.array([atoms, undirected, directed, undirected, directed]),
                }
                for name in (*_INDICES, "vectors"):
                    parts[name].append(graph[name] + offsets.get(name, 0))
                parts["crystal"].append(np.full(len(graph["numbers"]), len(owner)))
                owner.append(place)
                energies.append(energy)
                atoms += len(graph["numbers"])
                undirected += len(graph["directed"])
                directed += len(graph["edges"])
        batch = {name: torch.from_numpy(np.concatenate(value)) for name, value in parts.items()}
        batch |= {"row": torch.tensor(owner), "energies": torch.tensor(energies).float()}
        # skorch asks for the length of an entry of this name how many rows there are
        batch["input_ids"] = torch.from_numpy(rows)
        return batch, self.truth(rows)

    def compositions(self) -> CompositionBatch:
        """Compositions of the first crystals of rows, each of which has one."""
        counts = [Counter(row[0]["numbers"].tolist()) for row in self.graphs]
        return read_compositions([{ELEMENTS[z - 1]: n for z, n in row.items()} for row in counts])

    def take(
        self,
        rows: np.ndarray,
        targets: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> CrystalRows:
        """Select rows, and give them targets and weights."""
        chosen = rows.tolist()
        graphs, energies = [self.graphs[i] for i in chosen], [self.energies[i] for i in chosen]
        return CrystalRows(graphs, energies, targets, weights)


class CrystalNetwork(nn.Module):
    """CHGNet's message passing, pooling over atoms and crystals, and a head.

    Parameters
    ----------
    config : dict
        Architecture, as CHGNet's ``model_args`` has it.
    n_outputs : int
        Target columns, or classes.
    pooling : {"attention", "boltzmann", "mean"}
        Over the crystals of a row.
    temperature : float
        Unit of energy of the Boltzmann weights, in eV/atom.
    dropout : float
        In front of the last layer.
    """

    def __init__(
        self,
        config: dict[str, Any],
        n_outputs: int,
        pooling: str,
        temperature: float,
        dropout: float,
    ) -> None:
        from chgnet.model import CHGNet

        super().__init__()
        # it prints its size
        with contextlib.redirect_stdout(io.StringIO()):
            self.backbone = CHGNet(**{**config, "composition_model": None})
        width = 3 * self.backbone.atom_fea_dim
        self.norm = nn.LayerNorm(width)
        self.pooling = pooling
        self.temperature = temperature
        if pooling == "attention":
            last = nn.Linear(_ATTENTION_WIDTH, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.attention = nn.Sequential(nn.Linear(width, _ATTENTION_WIDTH), nn.Tanh(), last)
        self.head = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width // 2, n_outputs),
        )

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Property (scaled units) or class logits, (n, n_outputs)."""
        crystals = self.crystals(inputs)
        weights = self.weights(crystals, inputs)
        pooled = crystals.new_zeros(len(inputs["input_ids"]), crystals.shape[1])
        return self.head(pooled.index_add(0, inputs["row"], weights[:, None] * crystals))

    def crystals(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features of each crystal: of its atoms the mean, and mean and deviation earlier on."""
        from chgnet.model.model import BatchedGraph

        net, vectors, angles = self.backbone, inputs["vectors"], inputs["angles"]
        lengths = vectors.norm(dim=1)
        lines = vectors / lengths[:, None]
        bonds = lengths[inputs["directed"]]
        graph = BatchedGraph(
            atomic_numbers=inputs["numbers"],
            bond_bases_ag=net.bond_basis_expansion.rbf_expansion_ag(bonds),
            bond_bases_bg=net.bond_basis_expansion.rbf_expansion_bg(bonds),
            angle_bases=(
                net.angle_basis_expansion(lines[angles[:, 2]], lines[angles[:, 4]])
                if len(angles)
                else vectors.new_zeros(0)
            ),
            batched_atom_graph=inputs["edges"],
            batched_bond_graph=angles[:, [0, 1, 3]],
            atom_owners=inputs["crystal"],
            directed2undirected=inputs["undirected"],
            # of forces and stresses alone
            atom_positions=[],
            strains=[],
            volumes=[],
        )
        found = net._compute(graph, return_atom_feas=True, return_crystal_feas=True)
        counts = found["atoms_per_graph"][:, None]
        atoms = torch.cat(found["atom_fea"])
        mean = _mean(atoms, inputs["crystal"], counts)
        variance = _mean((atoms - mean[inputs["crystal"]]) ** 2, inputs["crystal"], counts)
        last = found["crystal_fea"] / counts
        return self.norm(torch.cat([last, mean, torch.sqrt(variance + _TINY)], dim=1))

    def weights(self, crystals: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weight of each crystal in its row; those of a row sum to 1."""
        row = inputs["row"]
        scores = torch.zeros_like(inputs["energies"])
        if self.pooling != "mean":
            scores = -inputs["energies"] / self.temperature
        if self.pooling == "attention":
            scores = scores + self.attention(crystals)[:, 0]
        n_rows = len(inputs["input_ids"])
        top = scores.new_full((n_rows,), -math.inf).scatter_reduce(0, row, scores, "amax")
        raised = torch.exp(scores - top.detach()[row])
        return raised / raised.new_zeros(n_rows).index_add(0, row, raised)[row]


def run_network(
    network: CrystalNetwork, rows: CrystalRows, device: str
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Run a network, a row at a time: no row's output depends on the others.

    Every row must have a crystal. Outputs are those of the pooled crystals, those of each crystal
    of a row by itself, and the weights of these.
    """
    outputs, each, weights = [], [], []
    network.to(device)
    try:
        with torch.inference_mode(), one_thread(network):
            for row in range(len(rows)):
                batch = {k: v.to(device) for k, v in rows[np.array([row])][0].items()}
                crystals = network.crystals(batch)
                shares = network.weights(crystals, batch)
                outputs.append(network.head(shares @ crystals).cpu().numpy())
                each.append(network.head(crystals).cpu().numpy())
                weights.append(shares.cpu().numpy())
    finally:
        network.to("cpu")
    return np.array(outputs, float), each, weights


def pretrained_backbone() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Architecture and weights of CHGNet in the installed package.

    Returns
    -------
    config : dict
        Plain data.
    weights : dict of str to torch.Tensor
        Without the energies of single atoms.
    """
    model = load_chgnet()
    config = {
        key: value
        for key, value in model.model_args.items()
        if key not in {"composition_model", "version"}
    }
    weights = {
        key: value
        for key, value in model.state_dict().items()
        if not key.startswith("composition_model")
    }
    return config, weights


def _mean(values: torch.Tensor, owner: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean over the atoms of each crystal."""
    return values.new_zeros(len(counts), values.shape[1]).index_add(0, owner, values) / counts


def _arrays(graph: Any) -> dict[str, np.ndarray]:
    """Arrays of one of CHGNet's graphs; bonds as vectors."""
    place = graph.atom_frac_coord @ graph.lattice
    edges = graph.atom_graph.reshape(-1, 2).long()
    shift = graph.neighbor_image.to(place.dtype) @ graph.lattice
    return {
        "numbers": graph.atomic_number.long().numpy(),
        "edges": edges.numpy(),
        "vectors": (place[edges[:, 0]] - place[edges[:, 1]] - shift).float().detach().numpy(),
        "undirected": graph.directed2undirected.long().numpy(),
        "directed": graph.undirected2directed.long().numpy(),
        "angles": graph.bond_graph.reshape(-1, 5).long().numpy(),
    }
