"""Networks of images and volumes, most of them torchvision's and timm's own classes made small."""

from functools import partial

import torch
import torchvision.models as vision
from timm.models.mlp_mixer import MlpMixer
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F


def vit_class_token():
    return vision.VisionTransformer(16, 4, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=4)


def vit_mean():
    return VisionTransformer(16, 4, num_classes=4, embed_dim=24, depth=2, num_heads=2, mlp_ratio=2, global_pool="avg")


def mixer():
    return MlpMixer(num_classes=4, img_size=16, patch_size=4, num_blocks=2, embed_dim=24, mlp_ratio=(0.5, 2.0))


def convnext():
    blocks = [vision.convnext.CNBlockConfig(12, 24, 1), vision.convnext.CNBlockConfig(24, None, 1)]
    return vision.ConvNeXt(blocks, num_classes=4, layer_scale=0.5)


def mobilenet_v3():
    block = partial(vision.mobilenetv3.InvertedResidualConfig, width_mult=1.0)
    blocks = [block(8, 3, 8, 8, False, "RE", 1, 1), block(8, 3, 24, 12, True, "HS", 2, 1), block(12, 5, 32, 12, True, "HS", 1, 1)]
    return vision.MobileNetV3(blocks, last_channel=32, num_classes=4, dropout=0.0)


def efficientnet():
    block = partial(vision.efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    blocks = [block(1, 3, 1, 8, 8, 1), block(3, 3, 2, 8, 12, 2)]
    return vision.EfficientNet(blocks, dropout=0.0, last_channel=32, num_classes=4)


def resnet():
    return ResNet(BasicBlock, (1, 1, 1, 1), num_classes=4, channels=(8, 8, 16, 16), stem_width=8)


def densenet():
    return vision.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=4)


def cnn_3d():
    def step(before, after):
        return nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU(), nn.MaxPool3d(2)

    return nn.Sequential(*step(1, 6), *step(6, 12), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(12, 3))


class UNet(nn.Module):
    """Scores of three classes for each pixel, in rows."""

    def __init__(self, mode):
        super().__init__()
        self.resize = {"mode": mode, **({"align_corners": False} if mode == "bilinear" else {})}
        conv = lambda before, after: nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU())
        self.down, self.deep, self.up = conv(3, 8), conv(8, 16), conv(24, 8)
        self.scores = nn.Conv2d(8, 3, 1)

    def forward(self, image):
        fine = self.down(image)
        coarse = self.deep(F.max_pool2d(fine, 2))
        wide = F.interpolate(coarse, scale_factor=2.0, **self.resize)
        return self.scores(self.up(torch.cat([fine, wide], 1))).permute(0, 2, 3, 1)


class ImageAndMetadata(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.metadata = nn.Sequential(nn.Linear(5, 16), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, image, metadata):
        return self.head(torch.cat([self.image(image), self.metadata(metadata)], 1))
