"""Making the table of element properties: ``python -m making.elements FILE``.

The package ships the table rather than asking pymatgen at run time, so that a fitted
model gives the same predictions under every version of pymatgen.
"""

from __future__ import annotations

import argparse
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from pymatgen.core import Element

from sklearn_kt.compositions import ELEMENTS

# column -> how pymatgen gives it
PROPERTIES: dict[str, Callable[[Element], float | None]] = {
    "atomic_number": lambda e: e.Z,
    "mendeleev_number": lambda e: e.mendeleev_no,
    "atomic_mass": lambda e: e.atomic_mass,
    "row": lambda e: e.row,
    "group": lambda e: e.group,
    "electronegativity": lambda e: e.X,
    "atomic_radius": lambda e: e.atomic_radius,
    "atomic_radius_calculated": lambda e: e.atomic_radius_calculated,
    "van_der_waals_radius": lambda e: e.van_der_waals_radius,
    "average_ionic_radius": lambda e: e.average_ionic_radius or None,
    "melting_point": lambda e: e.melting_point,
    "boiling_point": lambda e: e.boiling_point,
    "density_of_solid": lambda e: e.density_of_solid,
    "molar_volume": lambda e: e.molar_volume,
    "bulk_modulus": lambda e: e.bulk_modulus,
    "youngs_modulus": lambda e: e.youngs_modulus,
    "thermal_conductivity": lambda e: e.thermal_conductivity,
    "log_electrical_resistivity": lambda e: math.log10(e.electrical_resistivity),
    "electron_affinity": lambda e: e.electron_affinity,
    "ionization_energy": lambda e: e.ionization_energies[0],
    "highest_oxidation_state": lambda e: max(e.common_oxidation_states),
    "lowest_oxidation_state": lambda e: min(e.common_oxidation_states),
    "s_electrons": lambda e: outer_electrons(e, "s"),
    "p_electrons": lambda e: outer_electrons(e, "p"),
    "d_electrons": lambda e: outer_electrons(e, "d"),
    "f_electrons": lambda e: outer_electrons(e, "f"),
    "s_vacancies": lambda e: vacancies(e, "s"),
    "p_vacancies": lambda e: vacancies(e, "p"),
    "d_vacancies": lambda e: vacancies(e, "d"),
    "f_vacancies": lambda e: vacancies(e, "f"),
    "is_metal": lambda e: e.is_metal,
}


def outer_electrons(element: Element, orbital: str) -> int:
    """Electrons in such orbitals beyond the noble-gas core."""
    outer = re.sub(r"\[\w+\]", "", element.electronic_structure)
    return sum(int(n) for kind, n in re.findall(r"\d([spdf])(\d+)", outer) if kind == orbital)


def vacancies(element: Element, orbital: str) -> int:
    """Places left in such orbitals, if any is occupied."""
    full = {"s": 2, "p": 6, "d": 10, "f": 14}[orbital]
    held = outer_electrons(element, orbital)
    return full - held if 0 < held < full else 0


def value(element: Element, read: Callable[[Element], float | None]) -> float | None:
    """One property; None where pymatgen knows none."""
    try:
        found = read(element)
    except (AttributeError, LookupError, ValueError, TypeError):
        return None
    return None if found is None else float(found)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    target = parser.parse_args().output
    with warnings.catch_warnings():
        # pymatgen warns of every value it lacks
        warnings.simplefilter("ignore")
        rows = [
            {name: value(Element(symbol), read) for name, read in PROPERTIES.items()}
            for symbol in ELEMENTS
        ]
    table = pd.DataFrame(rows, index=pd.Index(ELEMENTS, name="symbol"))
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(target, float_format="%.6g")


if __name__ == "__main__":
    main()
