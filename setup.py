"""What pyproject.toml cannot say: the wheel carries folders of the repository inside the package."""

from setuptools import find_namespace_packages, setup

#: They become `lab/shipped/NAME`, where lab/resources.py finds them.
SHIPPED = {f"lab.shipped.{name}": name for name in ("images", "compose", "schema")}

setup(
    packages=[*find_namespace_packages(include=["lab", "lab.*"]), *SHIPPED],
    package_dir=SHIPPED,
    package_data={
        "lab": ["py.typed", "report/templates/*", "project/templates/*"],
        **{package: ["**/*"] for package in SHIPPED},
    },
    exclude_package_data={"": ["__pycache__/*", "**/__pycache__/*", "*.pyc"]},
    include_package_data=False,
)
