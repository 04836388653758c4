"""What pyproject.toml cannot say: the wheel carries folders of the repository inside the package."""

from setuptools import find_packages, setup

#: They become `lab/shipped/NAME`, where lab/resources.py finds them.
SHIPPED = ("images", "compose", "schema")

setup(
    packages=[*find_packages(include=["lab", "lab.*"]), *(f"lab.shipped.{name}" for name in SHIPPED)],
    package_dir={f"lab.shipped.{name}": name for name in SHIPPED},
    package_data={f"lab.shipped.{name}": ["**/*"] for name in SHIPPED},
    exclude_package_data={"": ["__pycache__/*", "**/__pycache__/*", "*.pyc"]},
    include_package_data=False,
)
