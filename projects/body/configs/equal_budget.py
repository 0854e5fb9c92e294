_base_ = '../../../configs/body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-128x128.py'

# 24 900 images from the shipped weights, to compare recipes: half a cosine to zero
train_cfg = dict(max_epochs=3, val_interval=3)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        begin=0,
        end=3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'lpn_mmpose/weights/lpn50_body19-128x128.pth'
