"""ament_python package."""

from setuptools import setup

setup(
    name="edge_ser_ros",
    version="0.1.0",
    packages=["edge_ser_ros"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/edge_ser_ros"]),
        ("share/edge_ser_ros", ["package.xml"]),
    ],
    install_requires=["setuptools", "edge-ser"],
    entry_points={"console_scripts": ["emotion = edge_ser_ros.emotion:main"]},
)
