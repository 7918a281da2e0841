"""The ROS 2 messages that we speak, as DDS types.

Field order and names are those of the ``.msg`` files: std_msgs, hri_msgs (ros4hri), and both
packages that call themselves audio_common_msgs (ros-drivers and mgonzs13). rmw writes the type
``pkg/msg/Name`` as ``pkg::msg::dds_::Name_``.
"""

from dataclasses import dataclass, field

from edge_ser.errors import MissingExtra

try:
    from cyclonedds.idl import IdlStruct
    from cyclonedds.idl.types import float32, int8, int16, int32, sequence, uint8, uint32
except ImportError:
    raise MissingExtra("cyclonedds", "ros2", "speak ROS 2 topics") from None

__all__ = [
    "AudioStamped",
    "Bool",
    "Expression",
    "Header",
    "IdsList",
    "RosDriversAudioData",
    "RosDriversAudioDataStamped",
    "String",
    "Time",
]


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    """builtin_interfaces/msg/Time."""

    sec: int32 = 0
    nanosec: uint32 = 0


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    """std_msgs/msg/Header."""

    stamp: Time = field(default_factory=Time)
    frame_id: str = ""


@dataclass
class Bool(IdlStruct, typename="std_msgs::msg::dds_::Bool_"):
    """std_msgs/msg/Bool."""

    data: bool = False


@dataclass
class String(IdlStruct, typename="std_msgs::msg::dds_::String_"):
    """std_msgs/msg/String."""

    data: str = ""


@dataclass
class IdsList(IdlStruct, typename="hri_msgs::msg::dds_::IdsList_"):
    """hri_msgs/msg/IdsList."""

    header: Header = field(default_factory=Header)
    ids: sequence[str] = field(default_factory=list)


@dataclass
class Expression(IdlStruct, typename="hri_msgs::msg::dds_::Expression_"):
    """hri_msgs/msg/Expression."""

    header: Header = field(default_factory=Header)
    expression: str = ""
    valence: float32 = 0.0
    arousal: float32 = 0.0
    confidence: float32 = 0.0


@dataclass
class RosDriversAudioData(IdlStruct, typename="audio_common_msgs::msg::dds_::AudioData_"):
    """audio_common_msgs/msg/AudioData of ros-drivers: raw bytes, format told elsewhere."""

    data: sequence[uint8] = field(default_factory=list)


@dataclass
class RosDriversAudioDataStamped(
    IdlStruct, typename="audio_common_msgs::msg::dds_::AudioDataStamped_"
):
    """audio_common_msgs/msg/AudioDataStamped of ros-drivers."""

    header: Header = field(default_factory=Header)
    audio: RosDriversAudioData = field(default_factory=RosDriversAudioData)


@dataclass
class AudioDataUnion(IdlStruct, typename="audio_common_msgs::msg::dds_::AudioData_"):
    """audio_common_msgs/msg/AudioData of mgonzs13: one of five lists is filled."""

    float32_data: sequence[float32] = field(default_factory=list)
    int32_data: sequence[int32] = field(default_factory=list)
    int16_data: sequence[int16] = field(default_factory=list)
    int8_data: sequence[int8] = field(default_factory=list)
    uint8_data: sequence[uint8] = field(default_factory=list)


@dataclass
class AudioInfo(IdlStruct, typename="audio_common_msgs::msg::dds_::AudioInfo_"):
    """audio_common_msgs/msg/AudioInfo of mgonzs13; ``format`` is PortAudio's number."""

    format: int32 = 8
    channels: int32 = 1
    rate: int32 = 16000
    chunk: int32 = 512


@dataclass
class Audio(IdlStruct, typename="audio_common_msgs::msg::dds_::Audio_"):
    """audio_common_msgs/msg/Audio of mgonzs13."""

    audio_data: AudioDataUnion = field(default_factory=AudioDataUnion)
    info: AudioInfo = field(default_factory=AudioInfo)


@dataclass
class AudioStamped(IdlStruct, typename="audio_common_msgs::msg::dds_::AudioStamped_"):
    """audio_common_msgs/msg/AudioStamped of mgonzs13."""

    header: Header = field(default_factory=Header)
    audio: Audio = field(default_factory=Audio)
